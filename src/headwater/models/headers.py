"""What a weights file holds, from its headers alone, with every size checked against the file's."""

from __future__ import annotations

import json
import math
import re
import struct
import zipfile
from pathlib import Path
from typing import Any, Literal

import torch

from headwater.errors import UserError, need
from headwater.models.opcodes import RANK_LIMIT, Entry, foretell

HEADER_LIMIT = 8 << 20
"""Largest header (safetensors' JSON, a checkpoint's pickle); the largest image models need 2 MiB."""
DIRECTORY_LIMIT = 4 << 20
"""Largest directory of a zip file."""

SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
"""Suffixes of files of weights."""

TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

UNREAD = (
    *("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F6_E2M3", "F6_E3M2", "F4"),
    *("U16", "U32", "U64", "C64"),
)
"""Types that safetensors knows and no network here is made of."""

OTHERS = {
    b"\x1f\x8b": "compressed by gzip: unpack it first",
    b"BZh": "compressed by bzip2: unpack it first",
    b"\xfd7zXZ": "compressed by xz: unpack it first",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"Rar!": "a RAR archive: unpack it first",
    b"\x89HDF": "an HDF5 file, as Keras writes: save the weights from PyTorch",
    b"GGUF": "a GGUF file: save the weights as safetensors",
    b"\x93NUMPY": "an array of NumPy: save the weights as safetensors, by their names",
}
"""What files that are no weights begin with, and what they are."""
_PAGE = re.compile(rb"\s*<(!doctype|html|head|\?xml)", re.IGNORECASE)

MEMBERS = re.compile(
    r"[^/]+/(data\.pkl|data/\d+|version|byteorder|\.data/serialization_id|\.format_version|\.storage_alignment)"
)


def kind(path: Path) -> Literal["safetensors", "torch"]:
    """The format by content, not by name. Raises UserError for anything else, naming it."""
    try:
        with open(path, "rb") as file:
            start = file.read(262)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): check the path") from None
    refuse_stand_in(path, start)
    if start.startswith(b"PK\x03\x04"):
        return "torch"
    if start[8:9] == b"{":
        return "safetensors"
    if start[:1] == b"\x80":
        _refuse_bare_pickle(path)
    other = next((what for magic, what in OTHERS.items() if start.startswith(magic)), "")
    other = "a tar archive: unpack it first" if start[257:] == b"ustar" else other
    need(not other, f"{path} is {other}")
    raise UserError(
        f"{path} is neither a safetensors file nor one of torch.save: give the weights file or its folder"
    )


def refuse_stand_in(path: Path, start: bytes | None = None) -> None:
    """UserError for what downloads leave in place of a file: nothing, a pointer of Git LFS, or a web page.

    start: the first bytes, if they are known.
    """
    if start is None:
        with open(path, "rb") as file:
            start = file.read(262)
    need(start != b"", f"{path} is empty: download or copy it again")
    need(
        not start.startswith(b"version https://git-lfs"),
        f"{path} is a pointer of Git LFS, not the file itself: run git lfs pull there, or download it",
    )
    need(
        _PAGE.match(start) is None,
        f"{path} is a web page, saved in place of the file: download the file itself (on the hub by the link "
        "that says resolve, not blob)",
    )


def _refuse_bare_pickle(path: Path) -> None:
    """A pickle outside a zip: torch's format before 1.6, or something worse."""
    with open(path, "rb") as file:
        raw = file.read(HEADER_LIMIT)
    old = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." in raw[:16]
    if not old:
        foretell(raw, str(path))
    raise UserError(
        f"{path} is in a format that torch stopped writing in version 1.6: save its state_dict() again "
        "as safetensors on a machine where you trust it"
    )


def safetensors_entries(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """(tensors by name, metadata) of a safetensors file."""
    total = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        sound = total >= 8 and 2 <= length <= min(total - 8, HEADER_LIMIT)
        need(sound, f"{path} is cut short or lies about its header's length: get another copy")
        raw = file.read(length)
    try:
        header = json.loads(raw, object_pairs_hook=_no_twins)
    except (ValueError, RecursionError):
        raise UserError(f"{path} has a safetensors header that is not valid: get another copy") from None
    need(isinstance(header, dict), f"{path} has a safetensors header that is not valid: get another copy")
    metadata = header.pop("__metadata__", {})
    for name, entry in header.items():
        dtype = entry.get("dtype") if isinstance(entry, dict) else None
        need(
            dtype not in UNREAD,
            f"{path}: {name[:80]!r} is of type {dtype}, which is not read: save it in float32 or float16",
        )
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: _start(item[1])):
        need(_is_sound(entry, end), f"{path}: the header lies about {name[:80]!r}; get another copy")
        end = entry["data_offsets"][1]
    need(end == total - 8 - length, f"{path} is not as long as its header says: get another copy")
    entries = {name: Entry(TYPES[entry["dtype"]], tuple(entry["shape"])) for name, entry in header.items()}
    return entries, metadata if isinstance(metadata, dict) else {}


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("one name twice")
    return found


def _start(entry: Any) -> tuple[int, int]:
    match entry:
        case {"data_offsets": [int(start), int(end)]}:
            return start, end
        case _:
            return 0, 0


def _is_sound(entry: Any, start: int) -> bool:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(first), int(last)]}:
            plain = all(type(n) is int and n >= 0 for n in shape) and len(shape) <= RANK_LIMIT
            if dtype not in TYPES or not plain or first != start:
                return False
            return last - first == math.prod(shape) * TYPES[dtype].itemsize
        case _:
            return False


def torch_tree(path: Path) -> Any:
    """What a file of torch.save holds: containers and plain values, tensors as `Entry`."""
    total = path.stat().st_size
    with open(path, "rb") as file:
        _check_directory(file, total, path)
        try:
            with zipfile.ZipFile(file) as archive:
                sizes = _members(archive, total, path)
                pickled = next((name for name in sizes if name.endswith("/data.pkl")), "")
                need(bool(pickled), f"{path} is a zip file without a checkpoint in it: give the weights file")
                need(sizes[pickled] <= HEADER_LIMIT, f"{path} has a description too large to be true")
                raw = archive.read(pickled)
        except (
            zipfile.BadZipFile,
            NotImplementedError,
            EOFError,
            ValueError,
            OSError,
            struct.error,
        ) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{path} is a damaged zip file: get another copy") from None
    tree, storages = foretell(raw, str(path))
    root = pickled.removesuffix("data.pkl")
    for storage in storages.values():
        held = sizes.get(f"{root}data/{storage.key}")
        right = held == storage.count * storage.dtype.itemsize
        need(right, f"{path} lies about the size of its tensors: get another copy")
    return tree


def _check_directory(file: Any, total: int, path: Path) -> None:
    """Bound the zip directory before it is read, since each of its 46-byte records costs ten times that."""
    file.seek(max(total - 22 - 20, 0))
    tail = file.read()
    end = tail[-22:]
    need(end[:4] == b"PK\5\6", f"{path} is cut short or has something after its end: get another copy")
    size = int.from_bytes(end[12:16], "little")
    if tail[:4] == b"PK\6\7":
        file.seek(min(int.from_bytes(tail[8:16], "little"), total))
        size = int.from_bytes(file.read(56)[40:48], "little")
    need(size <= DIRECTORY_LIMIT, f"{path} has a zip directory too large to be true: get another copy")
    file.seek(0)


def _members(archive: zipfile.ZipFile, total: int, path: Path) -> dict[str, int]:
    """Sizes by name, when all are plain stored files that torch.save writes and fit in the file."""
    sizes: dict[str, int] = {}
    for info in archive.infolist():
        name = info.filename
        if name.endswith(("/", ".json", *SUFFIXES)):
            raise UserError(
                f"{path} is a zip archive of files such as {name[:80]!r}: unpack it, give its folder"
            )
        if "/code/" in name or name.endswith("/constants.pkl"):
            raise UserError(f"{path} is a TorchScript program, not weights: refused; give a state dict")
        need(
            MEMBERS.fullmatch(name) is not None,
            f"{path} holds {name[:80]!r}, which no checkpoint has: refused",
        )
        stored = info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size
        need(stored and not info.flag_bits & 1, f"{path} is compressed or encrypted: get another copy")
        need(name not in sizes, f"{path} holds {name[:80]!r} twice: refused")
        sizes[name] = info.file_size
    offsets = [info.header_offset for info in archive.infolist()]
    need(not offsets or min(offsets) == 0, f"{path} has something before its zip archive: refused")
    roots = {name.split("/")[0] for name in sizes}
    need(
        len(roots) <= 1 and sum(sizes.values()) <= total, f"{path} lies about its contents: get another copy"
    )
    return sizes
