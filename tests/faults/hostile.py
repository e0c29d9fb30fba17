"""Small files that declare, nest or unpack to much: each maker writes one and says how it is to be read."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import h5py
import numpy as np
import yaml
from PIL import Image


class Ask(NamedTuple):
    """`headwater WORDS`, or a reader of `faults.readers` and what it is given."""

    words: tuple[Any, ...] = ()
    reader: str = ""
    options: Mapping[str, Any] = MappingProxyType({})


Maker = Callable[[Path], Ask]
GROUPS: dict[str, dict[str, Maker]] = {}


def case(group: str) -> Callable[[Maker], Maker]:
    def add(maker: Maker) -> Maker:
        GROUPS.setdefault(group, {})[maker.__name__] = maker
        return maker

    return add


def several(group: str, /, **makers: Maker) -> None:
    GROUPS.setdefault(group, {}).update(makers)


def read(reader: str, *given: Any, **options: Any) -> Ask:
    return Ask(given, reader, options)


def run(*words: Any) -> Ask:
    return Ask(words)


def put(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def sparse(path: Path, size: int, head: bytes = b"", tail: bytes = b"") -> Path:
    """A file of that size, of which the disk holds its ends alone."""
    with path.open("wb") as file:
        file.write(head)
        file.seek(size - len(tail) - (0 if tail else 1))
        file.write(tail or b"\0")
    return path


# Pickles. ------------------------------------------------------------------------------------------------
PROTO, MARK, STOP = b"\x80\x02", b"(", b"."


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def integer(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def archive(pickled: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a/data.pkl", PROTO + pickled + STOP)
        file.writestr("a/data/0", bytes(16))
        file.writestr("a/version", "3\n")
    return out.getvalue()


def _pickle(make: Callable[[], bytes], loose: bool = False) -> Maker:
    def maker(folder: Path) -> Ask:
        raw = PROTO + make() + STOP if loose else archive(make())
        return run("inspect", put(folder / "w.pt", raw))

    return maker


def pairs(depth: int) -> bytes:
    """A tuple of twice the same, of which the same holds, and so on."""
    return integer(1) + b"".join(b"q\x01h\x01\x86" for _ in range(depth))


def tensor(shape: bytes = b"(K\x04t", stride: bytes = b"(K\x01t") -> bytes:
    stored = MARK + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x04tQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + stored + b"K\0" + shape + stride + b"\x89" + hooks + b"tR"
    )


MODULUS = (1 << 61) - 1
"""Whole numbers that differ by it have one hash."""
several(
    "pickles",
    deep_key=_pickle(lambda: b"}" + pairs(60) + integer(1) + b"s"),
    deep_key_200=_pickle(lambda: b"}(" + text("a") + b"}" + pairs(200) + tensor() + b"su"),
    deep_key_called=_pickle(lambda: b"ccollections\nOrderedDict\n)R(" + pairs(64) + tensor() + b"u"),
    deep_in_dict=_pickle(lambda: MARK + pairs(64) + integer(2) + b"d"),
    deep_bare=_pickle(lambda: b"}" + pairs(60) + integer(1) + b"s", loose=True),
    marks=_pickle(lambda: MARK * 300_000 + b"t" * 300_000),
    marks_and_lists=_pickle(lambda: MARK * 200_000 + b"l" * 200_000),
    marks_and_values=_pickle(lambda: (MARK + b"N") * 150_000 + b"t" * 150_000),
    marks_in_vain=_pickle(lambda: b"N" * 500_000 + b"(t0" * 300_000),
    collisions=_pickle(
        lambda: b"}(" + b"".join(integer(i * MODULUS) + b"N" for i in range(1, 150_000)) + b"u"
    ),
    collisions_one_by_one=_pickle(
        lambda: b"}" + b"".join(integer(i * MODULUS) + b"Ns" for i in range(1, 100_000))
    ),
    collisions_of_tuples=_pickle(
        lambda: b"}(" + b"".join(integer(i * MODULUS) + b"\x85N" for i in range(1, 100_000)) + b"u"
    ),
    collisions_in_memo=_pickle(lambda: b"N" + b"".join(b"p%d\n" % (i * MODULUS) for i in range(1, 150_000))),
    long_sizes=_pickle(
        lambda: MARK + b"N" * 100_000 + b"tq\x01ctorch\nSize\nq\x02" + b"h\x02h\x01\x85R" * 100_000
    ),
    long_shape=_pickle(
        lambda: MARK + b"K\x01" * 100_000 + b"tq\x01" + b"(" + tensor(b"h\x01", b"h\x01") * 3000 + b"t"
    ),
    long_string_again=_pickle(
        lambda: text("a" * 4_000_000) + b"q\x01" + b"h\x01h\x01\x93" * 1000
    ),
    many_steps=_pickle(lambda: b"N0" * 4_000_000),
    many_dicts=_pickle(lambda: b"]" + b"(" + b"}" * 1_400_000 + b"e"),
    many_lists=_pickle(lambda: b"]" * 2_000_000),
    many_sets=_pickle(lambda: b"}" + b"K\x01K\x01s" * 900_000),
    digits=_pickle(lambda: b"I" + b"9" * 4_000_000 + b"\n"),
    long_lines=_pickle(lambda: b"".join(b"I" + b"9" * 4000 + b"\n" for _ in range(2000))),
    recursive=_pickle(lambda: b"}q\x01" + text("a") + b"h\x01s" + text("state_dict") + b"h\x01s"),
    nested_in_key=_pickle(lambda: b"}N" + b"\x85" * 1_400_000 + b"Ns"),
)  # fmt: skip


def _safetensors(kind: str, size: int) -> Maker:
    def maker(folder: Path) -> Ask:
        header = json.dumps({"w": {"dtype": kind, "shape": [4], "data_offsets": [0, 4 * size]}}).encode()
        raw = struct.pack("<Q", len(header)) + header + bytes(4 * size)
        return run("inspect", put(folder / "w.safetensors", raw))

    return maker


def _header(header: bytes) -> Maker:
    def maker(folder: Path) -> Ask:
        raw = struct.pack("<Q", len(header)) + header
        return run("inspect", put(folder / "w.safetensors", raw))

    return maker


several(
    "safetensors",
    **{kind: _safetensors(kind, size) for kind, size in dict(F8_E4M3=1, C64=8, U16=2, U32=4, U64=8).items()},
    objects=_header(b'{"a":[' + b"{}," * 2_600_000 + b"0]}"),
    digits=_header(b'{"a":' + b"9" * 5000 + b"}"),
    names=_header(b"{" + b",".join(b'"%d":0' % i for i in range(700_000)) + b"}"),
    shape=_header(b'{"a":{"dtype":"F32","shape":[' + b"1," * 3_000_000 + b'1],"data_offsets":[0,4]}}'),
    kind=_header(b'{"a":{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}}'),
    offsets=_header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,"4"]},"b":3}'),
)


# YAML. ---------------------------------------------------------------------------------------------------
def aliases(levels: int, wide: int = 9) -> str:
    lines = ["a0: &a0 [" + ",".join(["lol"] * wide) + "]"]
    lines += [f"a{i}: &a{i} [" + ",".join([f"*a{i - 1}"] * wide) + "]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


def mappings(levels: int, wide: int = 9) -> str:
    lines = ["a0: &a0 {k: v}"]
    lines += [
        f"a{i}: &a{i} {{" + ",".join(f"k{j}: *a{i - 1}" for j in range(wide)) + "}" for i in range(1, levels)
    ]
    return "\n".join(lines) + "\n"


def merges(levels: int, wide: int = 9) -> str:
    lines = ["a0: &a0 {k: v}"]
    lines += [f"a{i}: &a{i} {{<<: [" + ",".join([f"*a{i - 1}"] * wide) + "]}" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


_FULL = {"verb": "apply", "target": "repaint", "directory": ".", "options": {"out": "o"}, "outputs": {}}
YAMLS: dict[str, str | bytes] = {
    "aliases": aliases(30) + "seed: *a29\nnetwork: *a29\noptions: *a29\ndirectory: *a29\n",
    "alias_bare": aliases(30) + "options: {seed: *a29}\n",
    "alias_mappings": mappings(30) + "options: *a29\n",
    "alias_merges": merges(30) + "options: {<<: *a29}\n",
    "alias_long": "a: &a " + "x" * 50_000 + "\noptions: {seed: [" + "*a," * 30_000 + "]}\n",
    "alias_of_itself": "options: &a {seed: *a}\nseed: 1\n",
    "flow": "[" * 100_000,
    "flow_mappings": "{a: " * 100_000,
    "flow_closed": "[" * 3000 + "]" * 3000,
    "dashes": "- " * 100_000,
    "indented": "\n".join(" " * i + "a:" for i in range(900)),
    "questions": "? " * 100_000,
    "deep_900": "options: " + "[" * 900 + "]" * 900,
    "collisions": "options: {" + ", ".join(f"{i * MODULUS}: 1" for i in range(1, 60_000)) + "}",
    "collisions_of_floats": "options: {" + ", ".join(f"{i * MODULUS}.0e0: 1" for i in range(1, 60_000)) + "}",
    "sixties": "seed: " + "1:" * 300_000 + "1",
    "digits": "seed: " + "9" * 5000,
    "binary_digits": "seed: 0x" + "f" * 500_000,
    "dates": "seed: 2001-99-99",
    "tags": "seed: !!python/object/apply:os.system [true]",
    "latin": b"seed: caf\xe9\n",
    "nul": b"seed: \0\n",
    "list": "- 1\n- 2\n",
    "unhashable": "? [a, b]\n: 1\n",
    "dates_as_keys": "options: {2001-01-01: 1}\n",
    "complex_seed": "seed: {a: [1, 2]}\n",
    "typed_target": yaml.safe_dump({**_FULL, "target": ["x"]}),
    "typed_target_number": yaml.safe_dump({**_FULL, "target": 3}),
    "typed_verb": yaml.safe_dump({**_FULL, "verb": ["apply"]}),
    "typed_versions": yaml.safe_dump({**_FULL, "versions": "x"}),
    "typed_versions_list": yaml.safe_dump({**_FULL, "versions": [1]}),
    "typed_outputs": yaml.safe_dump({**_FULL, "outputs": [1]}),
    "typed_outputs_list": yaml.safe_dump({**_FULL, "outputs": {"a.png": ["x"], 3: 4}}),
    "typed_directory": yaml.safe_dump({**_FULL, "directory": ["x"]}),
    "typed_directory_nul": yaml.safe_dump({**_FULL, "directory": "a\0b"}),
    "typed_options": yaml.safe_dump({**_FULL, "options": [1]}),
    "typed_options_keys": yaml.safe_dump({**_FULL, "options": {3: 4, None: 1}}),
    "typed_notes": yaml.safe_dump({**_FULL, "notes": 3}),
    "typed_notes_list": yaml.safe_dump({**_FULL, "notes": [["x"]]}),
}


_TYPED = [name for name in YAMLS if name.startswith("typed")]
_RECIPES = (
    "aliases",
    "alias_merges",
    "alias_long",
    "flow",
    "dashes",
    "deep_900",
    "collisions",
    "sixties",
    "latin",
)
_OPTIONS = {name: value for name, value in YAMLS.items() if not name.startswith("typed")}


def _yaml(value: str | bytes, *words: str) -> Maker:
    def maker(folder: Path) -> Ask:
        path = put(folder / ("run.yaml" if words[0] in ("rerun", "apply") else "c.yaml"), value)
        out = () if words[0] == "rerun" else ("--out", folder if words[0] == "apply" else folder / "o")
        if words[0] == "apply":
            picture = put(folder / "in" / "p.png", png(8, 8))
            return run("apply", "repaint", "--image", picture, "--known", picture, "--prior", "digits",
                       "--resume", *out)  # fmt: skip
        return run(*words, path, *out)

    return maker


several(
    "yaml",
    **{f"config_{name}": _yaml(value, "sample", "digits", "--config") for name, value in _OPTIONS.items()},
    **{f"recipe_{name}": _yaml(_OPTIONS[name], "fit", "prior", "--recipe") for name in _RECIPES},
    **{f"rerun_{name}": _yaml(YAMLS[name], "rerun") for name in (*_RECIPES, *_TYPED)},
    **{f"resume_{name}": _yaml(YAMLS[name], "apply") for name in ("flow", "alias_merges", *_TYPED[::3])},
)


@case("yaml")
def config_large(folder: Path) -> Ask:
    return run("sample", "digits", "--config", sparse(folder / "c.yaml", 3 << 30), "--out", folder / "o")


@case("yaml")
def recipe_large(folder: Path) -> Ask:
    return run("fit", "prior", "--recipe", sparse(folder / "c.yaml", 3 << 30), "--out", folder / "o")


@case("yaml")
def rerun_large(folder: Path) -> Ask:
    return run("rerun", sparse(folder / "run.yaml", 3 << 30))


@case("yaml")
def config_pipe(folder: Path) -> Ask:
    os.mkfifo(folder / "c.yaml")
    return run("sample", "digits", "--config", folder / "c.yaml", "--out", folder / "o")


@case("yaml")
def recipe_pipe(folder: Path) -> Ask:
    os.mkfifo(folder / "c.yaml")
    return run("fit", "prior", "--recipe", folder / "c.yaml", "--out", folder / "o")


# HDF5. ---------------------------------------------------------------------------------------------------
def _hdf5(reader: str, make: Callable[[h5py.File, Path], None]) -> Maker:
    def maker(folder: Path) -> Ask:
        with h5py.File(folder / "k.h5", "w") as file:
            make(file, folder)
        return read(reader, folder / "k.h5")

    return maker


def _declared(shape: tuple[int, ...], kind: str = "c8", **how: Any) -> Callable[[h5py.File, Path], None]:
    return lambda file, folder: file.create_dataset("kspace", shape, kind, **how) and None


def _virtual(file: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout((4, 8, 8), "c8")
    layout[:] = h5py.VirtualSource("/etc/passwd", "kspace", (4, 8, 8))
    file.create_virtual_dataset("kspace", layout)


def _through_soft_links(file: h5py.File, folder: Path) -> None:
    os.mkfifo(folder / "pipe.h5")
    file["away"] = h5py.ExternalLink(str(folder / "pipe.h5"), "/")
    file["kspace"] = h5py.SoftLink("/away/kspace")


def _header_outside(file: h5py.File, folder: Path) -> None:
    file["kspace"] = np.ones((2, 8, 8), "c8")
    put(folder / "secret", "<encodedSpace>" + "x" * 100)
    file.create_dataset("ismrmrd_header", (1,), "S100", external=[(str(folder / "secret"), 0, 100)])


def _header_large(file: h5py.File, folder: Path) -> None:
    file["kspace"] = np.ones((2, 8, 8), "c8")
    file.create_dataset("ismrmrd_header", (1,), "S2000000000")


def _header_linked(file: h5py.File, folder: Path) -> None:
    file["kspace"] = np.ones((2, 8, 8), "c8")
    os.mkfifo(folder / "pipe.h5")
    file["ismrmrd_header"] = h5py.ExternalLink(str(folder / "pipe.h5"), "/x")


def _looped(file: h5py.File, folder: Path) -> None:
    file["kspace"] = h5py.SoftLink("/kspace")


def _many_names(file: h5py.File, folder: Path) -> None:
    for i in range(20_000):
        file[f"n{i}"] = h5py.SoftLink("/x")


def _packed(shape: tuple[int, ...], kind: str = "f4") -> Callable[[h5py.File, Path], None]:
    def make(file: h5py.File, folder: Path) -> None:
        chunk = (
            (1, *shape[1:])
            if len(shape) == 3 and shape[1] * shape[2] > 1000
            else (min(shape[0], 100_000), *shape[1:])
        )
        data = file.create_dataset("reconstruction_rss", shape, kind, chunks=chunk, compression="gzip",
                                   compression_opts=9)  # fmt: skip
        raw = zlib.compress(bytes(int(np.prod(chunk)) * np.dtype(kind).itemsize), 9)
        for start in range(0, shape[0], chunk[0]):
            data.id.write_direct_chunk((start, 0, 0), raw)

    return make


several(
    "hdf5",
    slices=_hdf5("kspace", _declared((10**9, 2, 2))),
    slices_chunked=_hdf5("kspace", _declared((10**9, 2, 2), chunks=(1, 2, 2))),
    slices_unlimited=_hdf5("kspace", _declared((10**9, 8, 8), chunks=(1, 8, 8), maxshape=(None, 8, 8))),
    one_large=_hdf5("kspace", _declared((1, 20_000, 20_000))),
    one_large_packed=_hdf5(
        "kspace", _declared((1, 20_000, 20_000), chunks=(1, 20_000, 20_000), compression="gzip")
    ),
    large_bare=_hdf5("kspace", _declared((30_000, 30_000))),
    filled=_hdf5("kspace", _declared((1, 20_000, 20_000), fillvalue=1j)),
    external=_hdf5("kspace", _declared((4, 4), external=[("/etc/passwd", 0, 128)])),
    link=_hdf5("kspace", lambda f, d: f.__setitem__("kspace", h5py.ExternalLink("/etc/passwd", "/x"))),
    virtual=_hdf5("kspace", _virtual),
    soft_and_external=_hdf5("kspace", _through_soft_links),
    header_outside=_hdf5("kspace", _header_outside),
    header_large=_hdf5("kspace", _header_large),
    header_linked=_hdf5("kspace", _header_linked),
    loop=_hdf5("kspace", _looped),
    names=_hdf5("kspace", _many_names),
    empty=_hdf5("kspace", lambda f, d: f.__setitem__("kspace", h5py.Empty("c8"))),
    group=_hdf5("kspace", lambda f, d: f.create_group("kspace") and None),
    zero_slices=_hdf5("kspace", _declared((0, 8, 8))),
    many_packed=_hdf5("magnitude", _packed((100_000_000, 1, 1), "u1")),
    bomb=_hdf5("magnitude", _packed((4, 16_000, 16_000), "u1")),
)  # fmt: skip


@case("hdf5")
def damaged_group(folder: Path) -> Ask:
    with h5py.File(folder / "k.h5", "w") as file:
        file["kspace"] = np.ones((2, 8, 8), "c8")
    raw = bytearray((folder / "k.h5").read_bytes())
    at = raw.find(b"TREE")
    raw[at : at + 60] = b"\xff" * 60
    return read("kspace", put(folder / "k.h5", bytes(raw)))


# NIfTI and NumPy. ----------------------------------------------------------------------------------------
def nifti_header(shape: tuple[int, ...], code: int = 2, offset: float = 352) -> bytes:
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<2h", head, 70, code, {2: 8, 4: 16, 8: 32, 16: 32, 64: 64, 32: 64}[code])
    struct.pack_into("<8f", head, 76, 1, 1, 1, 1, 1, 0, 0, 0)
    struct.pack_into("<3f", head, 108, offset, 1, 0)
    struct.pack_into("<4s", head, 344, b"n+1\0")
    return bytes(head)


def zeros_packed(head: bytes, size: int) -> bytes:
    """gzip of a head and so many zeros, without the zeros in memory at once."""
    packer, parts = zlib.compressobj(9, zlib.DEFLATED, 31), []
    parts.append(packer.compress(head))
    block = bytes(1 << 22)
    for start in range(0, size, len(block)):
        parts.append(packer.compress(block[: size - start]))
    return b"".join(parts) + packer.flush()


def _nifti(make: Callable[[], bytes], name: str = "v.nii.gz", reader: str = "volume") -> Maker:
    return lambda folder: read(reader, put(folder / name, make()))


def _extension() -> bytes:
    head = bytearray(nifti_header((4, 4, 4), offset=float(1 << 28)))
    head[348] = 1
    return bytes(head) + struct.pack("<2i", (1 << 28) - 352, 6)


several(
    "nifti",
    declared_packed=_nifti(lambda: gzip.compress(nifti_header((800, 800, 800)))),
    declared=_nifti(lambda: nifti_header((800, 800, 800), 16) + bytes(3000), "v.nii"),
    declared_double=_nifti(lambda: gzip.compress(nifti_header((900, 900, 300), 64))),
    declared_many=_nifti(lambda: gzip.compress(nifti_header((64, 64, 32767)) + bytes(1000))),
    bomb_small=_nifti(lambda: zeros_packed(nifti_header((700, 700, 700)), 700**3)),
    bomb_behind=_nifti(lambda: zeros_packed(nifti_header((4, 4, 4)), 1 << 28)),
    bomb_extension=_nifti(lambda: zeros_packed(_extension(), 1 << 28)),
    bomb_offset=_nifti(lambda: zeros_packed(nifti_header((4, 4, 4), offset=float(1 << 28)), 1 << 28)),
    offset=_nifti(lambda: nifti_header((4, 4, 4), offset=float("inf")) + bytes(64), "v.nii"),
    offset_nan=_nifti(lambda: nifti_header((4, 4, 4), offset=float("nan")) + bytes(64), "v.nii"),
    negative=_nifti(lambda: nifti_header((-4, 4, 4)) + bytes(64), "v.nii"),
)


def npy(shape: str, kind: str = "|u1", data: bytes = b"", version: int = 1) -> bytes:
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    size = struct.pack("<H" if version == 1 else "<I", len(head))
    return b"\x93NUMPY" + bytes([version, 0]) + size + head + data


def npz(**members: bytes | tuple[bytes, int]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                head, zeros = content if isinstance(content, tuple) else (content, 0)
                member.write(head)
                for start in range(0, zeros, 1 << 22):
                    member.write(bytes(min(1 << 22, zeros - start)))
    return out.getvalue()


def _file(name: str, reader: str, make: Callable[[], bytes]) -> Maker:
    return lambda folder: read(reader, put(folder / name, make()))


def _long_header(folder: Path) -> Ask:
    head = b"\x93NUMPY\2\0" + struct.pack("<I", (1 << 31) - 20)
    return read("mask", sparse(folder / "m.npy", 1 << 31, head))


def _lying_npz() -> bytes:
    """The directory says that the member holds little, and it holds much."""
    raw = bytearray(npz(images=(npy("(15000, 15000)"), 225_000_000)))
    at = raw.rindex(b"PK\1\2")
    raw[at + 24 : at + 28] = struct.pack("<I", 500)
    return bytes(raw)


several(
    "numpy",
    bomb_npz_small=_file("a.npz", "dataset", lambda: npz(images=(npy("(300, 1000, 1000)"), 300_000_000))),
    bomb_npz_other=_file(
        "a.npz",
        "dataset",
        lambda: npz(images=npy("(1, 8, 8)", data=bytes(64)), more=(npy("(300000000,)"), 300_000_000)),
    ),
    lying_npz=_file("a.npz", "dataset", _lying_npz),
    long_header_npz=_file(
        "a.npz",
        "dataset",
        lambda: npz(images=(b"\x93NUMPY\2\0" + struct.pack("<I", 200_000_000), 200_000_000)),
    ),
    long_header=_long_header,
    negative=_file("m.npy", "mask", lambda: npy("(-1,)", data=bytes(64))),
    negative_two=_file("m.npy", "mask", lambda: npy("(-8, -8)", data=bytes(64))),
    nested=_file("m.npy", "mask", lambda: npy("(" * 4000 + ")" * 4000)),
    parentheses=_file("m.npy", "mask", lambda: npy("(" * 90 + "1," + ")" * 90)),
    text=_file("str.npy", "dataset", lambda: npy("(2, 8, 8)", "<U4", bytes(2 * 64 * 16))),
    text_mask=_file("str.npy", "mask", lambda: npy("(8, 8)", "<U4", bytes(64 * 16))),
    text_labels=_file("str.npy", "labels", lambda: npy("(8, 8)", "|S4", bytes(64 * 4))),
    text_kspace=_file("str.npy", "kspace", lambda: npy("(8, 8)", "<U4", bytes(64 * 16))),
    over=_file("over.npy", "magnitude", lambda: npy("(1000000, 1000000, 1000000)", "<f8", bytes(64))),
    over_kspace=_file("over.npy", "kspace", lambda: npy("(1000000, 1000000, 1000000)", "<c8", bytes(64))),
    over_axes=_file("over.npy", "kspace", lambda: npy("(" + "1," * 70 + ")", "<c8", bytes(8))),
    record=_file("m.npy", "mask", lambda: npy("(8, 8)", "V900000000", bytes(64))),
    complex_labels=_file("m.npy", "labels", lambda: npy("(8, 8)", "<c8", bytes(512))),
    nan_labels=_file("m.npy", "labels", lambda: npy("(2, 2)", "<f4", np.full(4, np.nan, "f4").tobytes())),
    huge_labels=_file("m.npy", "labels", lambda: npy("(2, 2)", "<f8", np.full(4, 1e300).tobytes())),
    large_labels=_file(
        "m.npy", "labels", lambda: npy("(64, 64)", "<i8", (np.arange(4096) * 10**12).tobytes())
    ),
)  # fmt: skip


@case("numpy")
def sparse_mask(folder: Path) -> Ask:
    return read("mask", sparse(folder / "m.npy", 1 << 31, npy(f"(32768, {(1 << 16) - 100})")))


@case("numpy")
def sparse_labels(folder: Path) -> Ask:
    return read("labels", sparse(folder / "m.npy", 1 << 31, npy(f"(32768, {(1 << 16) - 100})")))


@case("numpy")
def many_slices(folder: Path) -> Ask:
    return read("magnitude", sparse(folder / "m.npy", (1 << 31) + 200, npy("(536870912, 2, 2)")))


# Pictures. -----------------------------------------------------------------------------------------------
def png(width: int, height: int, colour: int = 0, depth: int = 8, row: bytes | None = None) -> bytes:
    """A PNG of equal rows; colour 0 grey, 2 RGB, 3 palette, 4 grey with opacity, 6 RGBA."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    line = b"\0" + (row or bytes((width * samples * depth + 7) // 8))
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">2I5B", width, height, depth, colour, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + palette + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


def saved(mode: str, side: int, kind: str, **how: Any) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (side, side)).save(out, kind, **how)
    return out.getvalue()


def tiff_sparse(folder: Path, name: str, width: int, height: int, kind: int = 1) -> Path:
    """A TIFF of one strip without compression, of which the disk holds the header alone."""
    bands = 4 if kind == 2 else 1
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, kind),
        (273, 4, 1, 200), (277, 3, 1, bands), (278, 4, 1, height), (279, 4, 1, width * height * bands),
    ]  # fmt: skip
    raw = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags))
    raw += b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return sparse(folder / name, 200 + width * height * bands, raw)


def _eps(folder: Path, size: int) -> Path:
    return sparse(folder / "m.png", size, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n")


FORMATS = dict(AVIF={}, DDS={}, GIF={}, BMP={}, ICO={}, PPM={}, TGA={}, PCX={}, JPEG2000={}, SGI={}, PDF={})


def _other(kind: str) -> Callable[[], bytes]:
    def make() -> bytes:
        out = io.BytesIO()
        Image.new("RGB", (16, 16)).save(out, kind)
        return out.getvalue()

    return make


several(
    "pictures",
    webp=_file("p.png", "picture", lambda: saved("RGBA", 7999, "WEBP", lossless=True, method=0)),
    webp_odd=_file("p.webp", "picture", lambda: saved("RGBA", 4000, "WEBP", lossless=True, method=0)),
    png_rgba=_file("p.png", "picture", lambda: png(8000, 8000, 6)),
    png_rgb=_file("p.png", "picture", lambda: png(4500, 4500, 2)),
    png_la=_file("p.png", "picture", lambda: png(8000, 8000, 4)),
    png_deep=_file("p.png", "picture", lambda: png(5000, 5000, 6, 16)),
    png_grey=_file("p.png", "picture", lambda: png(8000, 8000, 0)),
    png_grey_deep=_file("p.png", "picture", lambda: png(8000, 8000, 0, 16)),
    png_flat=_file("p.png", "picture", lambda: png(30_000_000, 1, 6)),
    tiff=_file("p.tif", "picture", lambda: saved("RGBA", 5000, "TIFF", compression="tiff_deflate")),
    tiff_lzw=_file("p.tif", "picture", lambda: saved("RGB", 5000, "TIFF", compression="tiff_lzw")),
    tiff_packbits=_file("p.tif", "picture", lambda: saved("RGBA", 4090, "TIFF", compression="packbits")),
    tiff_float=_file("p.tif", "picture", lambda: saved("F", 5000, "TIFF", compression="tiff_deflate")),
    jpeg=_file("p.jpg", "picture", lambda: saved("RGB", 8000, "JPEG")),
    jpeg_cmyk=_file("p.jpg", "picture", lambda: saved("CMYK", 8000, "JPEG")),
    mask_rgba=_file("m.png", "mask", lambda: png(4500, 4500, 6)),
    mask_grey=_file("m.png", "mask", lambda: png(8000, 8000, 0)),
    mask_deep=_file("m.png", "mask", lambda: png(7000, 7000, 0, 16)),
    mask_lossy=_file("m.webp", "mask", lambda: saved("RGB", 3000, "WEBP")),
    labels=_file("m.png", "labels", lambda: png(8000, 8000, 0)),
    labels_rgb=_file("m.png", "labels", lambda: png(4500, 4500, 2)),
    labels_deep=_file("m.png", "labels", lambda: png(8000, 8000, 0, 16)),
    labels_16=_file("m.png", "labels", lambda: _labels_16(64)),
    labels_16_large=_file("m.png", "labels", lambda: _labels_16(2000)),
    labels_8_large=_file("m.png", "labels", lambda: png(4000, 4000, 0, 8, bytes(range(250)) * 16)),
    **{f"mask_{kind}": _file("m.png", "mask", _other(kind)) for kind in FORMATS},
    **{f"labels_{kind}": _file("m.png", "labels", _other(kind)) for kind in ("AVIF", "DDS", "GIF")},
    **{f"picture_{kind}": _file("m.png", "picture", _other(kind)) for kind in ("AVIF", "DDS", "GIF")},
)


def _labels_16(side: int) -> bytes:
    rng = np.random.default_rng(3)
    values = (
        rng.permutation(65535)[: side * side] if side * side < 65535 else rng.integers(0, 65535, side * side)
    )
    return png_of(values.astype(np.uint16).reshape(side, side))


def png_of(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG")
    return out.getvalue()


def _eps_case(reader: str) -> Maker:
    return lambda folder: read(reader, _eps(folder, 4 << 30))


several(
    "pictures", eps_mask=_eps_case("mask"), eps_labels=_eps_case("labels"), eps_picture=_eps_case("picture")
)


@case("pictures")
def eps_small(folder: Path) -> Ask:
    return read("mask", _eps(folder, 500 << 20))


@case("pictures")
def sparse_png(folder: Path) -> Ask:
    return read("mask", sparse(folder / "m.png", 4 << 30, png(8, 8)[:40]))


@case("pictures")
def tagged_png(folder: Path) -> Ask:
    """What is looked for in a PNG to know its orientation lies behind gigabytes."""
    return read("mask", sparse(folder / "m.png", 3 << 30, png(8, 8)[:-12], b"tEXt" + bytes(8)))


@case("pictures")
def tiff_of_holes(folder: Path) -> Ask:
    return read("picture", tiff_sparse(folder, "p.tif", 8000, 7999, 2))


@case("pictures")
def evaluate_eps(folder: Path) -> Ask:
    put(folder / "run.yaml", yaml.safe_dump({"verb": "apply", "target": "repaint", "options": {}}))
    (folder / "filled").mkdir()
    _eps(folder / "filled", 4 << 30)
    (folder / "in").mkdir()
    put(folder / "in" / "m.png", png(8, 8))
    return run("evaluate", "repaint", "--result", folder, "--image", folder / "in", "--known", folder / "in")


# Texts and tables. ---------------------------------------------------------------------------------------
def _sparse_text(name: str, size: int, head: bytes = b"", tail: bytes = b"") -> Maker:
    return lambda folder: read("texts", sparse(folder / name, size, head, tail))


several(
    "texts",
    line_jsonl=_sparse_text("t.jsonl", 3 << 30, b'{"text": "a"}\n'),
    line_jsonl_first=_sparse_text("t.jsonl", 2 << 30),
    line_txt=_sparse_text("t.txt", 3 << 30, b"a line\n"),
    line_txt_first=_sparse_text("t.txt", 2 << 30),
    line_late=_sparse_text("t.jsonl", 1 << 29, b'{"text": "a"}\n' * 6000, b'\n{"text": "b"}\n'),
    line_csv=_sparse_text("t.csv", 500 << 20, b"name,text\na,b\n"),
    line_json=_sparse_text("t.json", 500 << 20, b'[{"text": "a"}'),
    line_utf16=_sparse_text("t.txt", 3 << 30, b"\xff\xfea\0\n\0"),
    line_list=_sparse_text("t.jsonl", 3 << 30, b"[1,"),
    lists=_file("t.json", "texts", lambda: b"[" + b"[]," * 1_300_000 + b"0]"),
    deep=_file("t.json", "texts", lambda: b"[" * 1_000_000),
    deep_line=_file("t.jsonl", "texts", lambda: b'{"text": ' + b"[" * 500_000 + b"\n"),
    digits=_file("t.jsonl", "texts", lambda: b'{"text": "a", "n": ' + b"9" * 5000 + b"}\n"),
    digits_json=_file("t.json", "texts", lambda: b'[{"text": "a", "n": ' + b"9" * 5000 + b"}]"),
    digits_name=_file("t.jsonl", "texts", lambda: b'{"text": "a", "id": ' + b"9" * 4000 + b"}\n"),
    surrogate=_file("t.jsonl", "texts", lambda: b'{"text": "a\\ud800b"}\n'),
    surrogate_name=_file("t.jsonl", "texts", lambda: b'{"name": "a\\ud800b", "text": "x"}\n'),
    surrogate_json=_file("t.json", "texts", lambda: b'[{"text": "a\\ud800b"}]'),
    columns=_file("t.csv", "texts", lambda: ",".join(f"c{i}" for i in range(200_000)).encode() + b",text\n"),
    cell=_file("t.csv", "texts", lambda: b"name,text\na," + b"x" * 300_000 + b"\n"),
    quote=_file("t.csv", "texts", lambda: b'name,text\na,"' + b"x\n" * 300_000),
    coco=_file("t.json", "texts", lambda: b'{"images": [{"id": [1], "file_name": "a"}], "annotations": []}'),
    coco_odd=_file("t.json", "texts", lambda: b'{"images": [3], "annotations": [{"image_id": 3}]}'),
    number=_file("t.json", "texts", lambda: b"3"),
    regex=_file("t.txt", "texts", lambda: (b" " * 60_000 + b"x\n") * 40),
)


@case("texts")
def pipe(folder: Path) -> Ask:
    os.mkfifo(folder / "t.txt")
    return read("texts", folder / "t.txt")


@case("texts")
def folder_pipe(folder: Path) -> Ask:
    put(folder / "a.txt", "a text")
    os.mkfifo(folder / "b.txt")
    return read("texts", folder)


@case("texts")
def folder_zero(folder: Path) -> Ask:
    put(folder / "a.txt", "a text")
    (folder / "b.txt").symlink_to("/dev/zero")
    return read("texts", folder)


@case("texts")
def zero(folder: Path) -> Ask:
    (folder / "t.txt").symlink_to("/dev/zero")
    return read("texts", folder / "t.txt")


@case("texts")
def folder_sparse(folder: Path) -> Ask:
    sparse(folder / "b.txt", 3 << 30)
    return read("texts", folder)


def _csv(*lines: str, **said: Any) -> Maker:
    return lambda folder: read("table", put(folder / "t.csv", "\n".join(lines) + "\n"), **said)


def _columns(n: int, head: Callable[[int], str], cell: Callable[[int], str]) -> Callable[[], bytes]:
    def make() -> bytes:
        names = ",".join(["time", *map(head, range(n))])
        rows = [",".join([str(k), *(cell(i) for i in range(n))]) for k in range(3)]
        return "\n".join([names, *rows]).encode() + b"\n"

    return make


several(
    "tables",
    columns=_file("t.csv", "table", _columns(100_000, lambda i: f"c{i}", lambda i: "1.5")),
    columns_words=_file("t.csv", "table", _columns(100_000, lambda i: f"c{i}", lambda i: "word")),
    columns_dates=_file("t.csv", "table", _columns(20_000, lambda i: f"c{i}", lambda i: "2001-02-03")),
    columns_empty=_file("t.csv", "table", _columns(200_000, lambda i: f"c{i}", lambda i: "")),
    columns_packed=_file("t.csv", "table", _columns(50_000, lambda i: f"c{i}", lambda i: "20010203")),
    columns_unnamed=_file("t.csv", "table", _columns(50_000, lambda i: f"Unnamed: {i}", lambda i: "1")),
    columns_8000=_file("t.csv", "table", _columns(8000, lambda i: f"c{i}", lambda i: "2001-02-03")),
    spaces=_csv("time,a", "0,1" + " " * 100_000 + "5", "1,2"),
    spaces_words=_csv("time,a,b", "0,1,1" + " " * 100_000 + "5", "1,2,2" + " " * 100_000 + "5"),
    spaces_time=_csv("time,a", "2001-01-01" + " " * 100_000 + "x,1", "2001-01-02,2"),
    digits=_csv("time,a", "0," + "1" * 120_000, "1,2"),
    digits_time=_csv("time,a", "1" * 120_000 + ",1", "2,2"),
    groups=_csv("time,a", "0,1" + "\u00a0111" * 20_000 + "x", "1,2"),
    power=_csv("time,a", "1000000000,1", "1e999999999,2"),
    power_negative=_csv("time,a", "1700000000,1", "17000000000000e-4,2", "1e-999999999,3"),
    power_epoch=_csv("time,a", "1700000000,1", "1700000001.0e0,2", "0.00000017e16,3"),
    power_value=_csv("time,a", "0,1e999999999", "1,2"),
    infinite=_csv("time,a", "inf,1", "2,2"),
    year_inf=_csv("year,month,a", "inf,1,1", "2001,2,2"),
    year_inf_alone=_csv("year,a", "inf,1", "2001,2"),
    year_zero=_csv("time,a", "0000-01-01,1", "0001-01-01,2"),
    zone_over=_csv("time,a", "0001-01-01T00:00:00+14:00,1", "0001-01-02T00:00:00+14:00,2"),
    zone_over_end=_csv("time,a", "9999-12-31T23:00:00-14:00,1", "9999-12-31T23:30:00-14:00,2"),
    end_of_day=_csv("time,a", "9999-12-31 24:00,1", "9999-12-30 10:00,2"),
    week_53=_csv("time,a", "2001-W53,1", "2002-W01,2"),
    feb_30=_csv("time,a", "2001-02-28,1", "2001-02-30,2"),
    excel=_csv("date,a", "79999.999999999,1", "79999.9999999999999,2"),
    clock=_csv("time,a", "9999:59,1", "9999:59:59.999999999,2"),
    columns_of_dates=_csv("year,month,day,a", "9999,12,31,1", "9999,13,32,2"),
    nul=_csv("time,a", "0,\0", "1,2"),
    quote=_csv("time,a", '0,"' + "x" * 200_000, "1,2"),
    hours=_csv("date,hour,a", "2001-01-01,9999,1", "2001-01-01,10,2"),
    big_times=_csv("time,a", "1e308,1", "1.7e308,2", "1.75e308,3"),
    not_times=_csv("time,a", "-1e308,1", "1e308,2"),
    date_values=_csv("time,a", "2001-01-01,0001-01-01T00:00+14:00", "2001-01-02,9999-12-31T24:00"),
)  # fmt: skip


def _forecast(rows: int, *lines: str) -> Maker:
    return lambda folder: read("extended", put(folder / "t.csv", "\n".join(lines) + "\n"), rows)


several(
    "tables",
    forecast_days=_forecast(50, "time,a", "9999-12-20,1", "9999-12-21,2"),
    forecast_months=_forecast(50, "time,a", "9999-10-01,1", "9999-11-01,2", "9999-12-01,3"),
    forecast_zone=_forecast(5, "time,a", "9999-12-31T22:00+00:00,1", "9999-12-31T23:00+00:00,2"),
    forecast_zone_ahead=_forecast(5, "time,a", "9999-12-31T22:00-09:00,1", "9999-12-31T23:00-09:00,2"),
    forecast_zone_begin=_forecast(5, "time,a", "0001-01-01T15:00+14:00,1", "0001-01-01T16:00+14:00,2"),
    forecast_epoch=_forecast(5, "time,a", "4000000000,1", "4099999999,2"),
    forecast_large=_forecast(5, "time,a", "1e300,1", "9e307,2"),
    forecast_nan=_forecast(5, "time,a", "-1.7e38,1", "3.3e38,2"),
    forecast_week=_forecast(500, "time,a", "9999-W50,1", "9999-W51,2"),
)


@case("tables")
def sparse_table(folder: Path) -> Ask:
    return read("table", sparse(folder / "t.csv", 400 << 20, b"time,a\n0,1\n"))


@case("tables")
def table_pipe(folder: Path) -> Ask:
    os.mkfifo(folder / "t.csv")
    return read("table", folder / "t.csv")


def _scores(data: bytes, size: int = 0) -> Maker:
    def maker(folder: Path) -> Ask:
        path = sparse(folder / "s.csv", size, data) if size else put(folder / "s.csv", data)
        return read("scores", path)

    return maker


several(
    "tables",
    scores_line=_scores(b"name,score\na,1\n", 3 << 30),
    scores_cell=_scores(b"name,score\n" + b"a" * 200_000 + b",1\n"),
    scores_latin=_scores(b"name,score\ncaf\xe9,1\n"),
    scores_nul=_scores(b"name,score\na\0b,1\n"),
)


# Descriptions. -------------------------------------------------------------------------------------------
NOISES: dict[str, dict[str, Any]] = {
    "wavelength": {"kind": "power-law", "wavelength": 3000.0},
    "wavelength_huge": {"kind": "power-law", "wavelength": 1e9},
    "wavelength_infinite": {"kind": "power-law", "wavelength": float("inf")},
    "wavelength_tiny": {"kind": "simplex", "wavelength": 1e-5},
    "octaves": {"kind": "simplex", "octaves": 10_000},
    "octaves_20": {"kind": "simplex", "octaves": 20},
    "octaves_power": {"kind": "power-law", "octaves": 1_000_000},
    "persistence": {"kind": "simplex", "persistence": 1e200},
    "persistence_power": {"kind": "power-law", "persistence": 1e200},
    "persistence_nan": {"kind": "simplex", "persistence": float("nan")},
    "bound": {"kind": "truncated", "bound": float("nan")},
    "bound_tiny": {"kind": "truncated", "bound": 1e-320},
    "kind": {"kind": ["white"]},
    "kind_object": {"kind": {"a": 1}},
    "unknown": {"kind": "white", "colour": 3},
}
several("noises", **{name: lambda folder, o=options: read("noise", o) for name, options in NOISES.items()})

SCHEDULERS: dict[str, dict[str, Any]] = {
    "many": {"num_train_timesteps": 10**9},
    "many_cosine": {"num_train_timesteps": 10**8, "beta_schedule": "squaredcos_cap_v2"},
    "most": {"num_train_timesteps": 100_000, "beta_schedule": "squaredcos_cap_v2"},
    "none": {"num_train_timesteps": 0},
    "negative": {"num_train_timesteps": -5},
    "empty": {"trained_betas": []},
    "trained": {"trained_betas": [0.1] * 400_000},
    "trained_odd": {"trained_betas": [0.0, 2.0, -1.0]},
    "trained_other": {"trained_betas": [0.1, 0.2], "num_train_timesteps": 10**9},
    "kind": {"_class_name": ["DDPMScheduler"]},
    "start": {"beta_start": -1.0, "beta_schedule": "scaled_linear"},
    "end": {"beta_end": 1e308},
    "nan": {"beta_end": float("nan")},
    "digits": {"beta_end": 10**400},
    "schedule": {"beta_schedule": ["linear"]},
    "terminal": {"rescale_betas_zero_snr": True, "num_train_timesteps": 1},
    "edm": {"_class_name": "EDMEulerScheduler", "sigma_min": 1e-320, "sigma_max": 1e308},
    "edm_data": {"_class_name": "EDMEulerScheduler", "sigma_data": 0.0},
    "edm_many": {"_class_name": "EDMEulerScheduler", "num_train_timesteps": 10**9},
    "target": {"prediction_type": {"a": 1}},
}


def _scheduler(values: dict[str, Any]) -> Maker:
    def maker(folder: Path) -> Ask:
        path = put(folder / "scheduler_config.json", json.dumps({"_class_name": "DDPMScheduler", **values}))
        return Ask((path,), "headwater.models.scheduler:overrides")

    return maker


several("schedulers", **{name: _scheduler(values) for name, values in SCHEDULERS.items()})

JSONS = {
    "digits": b'{"a": ' + b"9" * 5000 + b"}",
    "deep": b'{"a": ' + b"[" * 1_000_000,
    "lists": b'{"a": [' + b"[]," * 1_390_000 + b"0]}",
    "utf16": '{"a": 1}'.encode("utf-16"),
    "latin": b'{"a": "\xe9"}',
    "null": b"null",
}
several(
    "descriptions",
    **{
        f"{name}_{where}": lambda folder, n=name, w=where, v=value: (
            put(folder / "x" / w, v),
            run("inspect", folder / "x"),
        )[1]
        for name, value in JSONS.items()
        for where in ("config.json", "model_index.json")
    },
)


@case("descriptions")
def large_json(folder: Path) -> Ask:
    (folder / "x").mkdir()
    sparse(folder / "x" / "config.json", 3 << 30)
    return run("inspect", folder / "x")


@case("descriptions")
def pipes(folder: Path) -> Ask:
    (folder / "x").mkdir()
    for name in ("config.json", "model_index.json", "model.safetensors", "scheduler_config.json"):
        os.mkfifo(folder / "x" / name)
    return run("inspect", folder / "x")


@case("descriptions")
def head_of_hub(folder: Path) -> Ask:
    put(folder / "x" / "snapshots" / "a" / "b", "")
    (folder / "x" / "refs").mkdir()
    sparse(folder / "x" / "refs" / "main", 3 << 30)
    return run("inspect", folder / "x")


# Tokenizers. ---------------------------------------------------------------------------------------------
def trained(kind: str = "bpe") -> dict[str, Any]:
    from headwater.data.tokenizer import Tokenizer

    return json.loads(Tokenizer.train(["some words to learn, and some more words"] * 4, 60, kind).to_json())  # type: ignore[arg-type]


def _tokenizer(
    change: Callable[[dict[str, Any]], None], words: list[str] | None = None, kind: str = "bpe"
) -> Maker:
    def maker(folder: Path) -> Ask:
        about = trained(kind)
        model = json.loads(about["model"])
        change(model)
        path = put(folder / "t.json", json.dumps({**about, "model": json.dumps(model)}))
        return read("tokenizer", path, words or ["some words", "a" * 60])

    return maker


def _set(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(model: dict[str, Any]) -> None:
        for key in keys[:-1]:
            model = model[key]
        model[keys[-1]] = value

    return change


def replaces(n: int, grow: int = 10) -> dict[str, Any]:
    one = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * grow}
    return {"type": "Sequence", "normalizers": [one] * n}


several(
    "tokenizers",
    precompiled=_tokenizer(_set("normalizer", value={"type": "Precompiled", "precompiled_charsmap": "AAAA"})),
    precompiled_trie=_tokenizer(
        _set("normalizer", value={"type": "Precompiled", "precompiled_charsmap": "CAAAAP////8AAAAAYQA="})
    ),
    regex=_tokenizer(
        _set("pre_tokenizer", value={"type": "Split", "pattern": {"Regex": "(a*)*b"}, "behavior": "Isolated",
                                     "invert": False}),
        ["a" * 40],
    ),
    regex_bad=_tokenizer(
        _set("normalizer", value={"type": "Replace", "pattern": {"Regex": "(((("}, "content": ""})
    ),
    regex_empty=_tokenizer(
        _set("normalizer", value={"type": "Replace", "pattern": {"Regex": ""}, "content": "x" * 1000})
    ),
    replaces=_tokenizer(_set("normalizer", value=replaces(9)), ["a"]),
    replaces_decoder=_tokenizer(
        _set("decoder", value={"type": "Sequence", "decoders": replaces(9)["normalizers"]}), ["some a"]
    ),
    prepend=_tokenizer(
        _set(
            "normalizer",
            value={"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "b" * 10**6}] * 10},
        )
    ),
    prefix=_tokenizer(_set("model", "continuing_subword_prefix", value="x" * 10**6)),
    dropout=_tokenizer(_set("model", "dropout", value=1e308)),
    added=_tokenizer(_set("added_tokens", value=[{"id": 4_000_000_000, "content": "x", "special": True}])),
    vocabulary=_tokenizer(lambda m: m["model"]["vocab"].update(zzz=4_000_000_000)),
    unknown=_tokenizer(_set("model", "unk_token", value="nowhere"), kind="word"),
    model=_tokenizer(_set("model", value={"type": "Unigram", "unk_id": 7, "vocab": []})),
    wordpiece=_tokenizer(
        _set(
            "model",
            value={"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                   "max_input_chars_per_word": 10**18, "vocab": {"[UNK]": 0}},
        )
    ),
    deep=_tokenizer(lambda m: m.update(normalizer=_nested(100))),
    strip=_tokenizer(_set("decoder", value={"type": "Strip", "content": "a", "start": 2**63, "stop": 2**63})),
    truncation=_tokenizer(
        _set("truncation", value={"direction": "Right", "max_length": 5, "strategy": "LongestFirst",
                                  "stride": 9})
    ),
    padding=_tokenizer(
        _set("padding", value={"strategy": {"Fixed": 10**12}, "direction": "Right",
                               "pad_to_multiple_of": None,
                               "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"})
    ),
)  # fmt: skip


def _nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "NFC"}
    for _ in range(depth):
        found = {"type": "Sequence", "normalizers": [found]}
    return found
