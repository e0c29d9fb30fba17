"""Which format a file has by its first bytes, so that a refusal says what it is."""

from __future__ import annotations

from pathlib import Path

from headwater.errors import UserError

FOREIGN = (
    *(".heic", ".heif", ".hif", ".avif", ".gif", ".bmp", ".dib", ".jp2", ".j2k", ".jpx", ".jxl", ".psd"),
    *(".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"),
    *(".apng", ".dcm", ".exr", ".svg"),
)
"""Suffixes of pictures that are not read."""

NUMPY, ZIP = "NumPy (.npy)", "ZIP (.npz)"
"""Names of arrays in files; torch's own files are ZIP too."""

_BEGINNINGS = (
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"8BPS", "PSD"),
    (0, b"%PDF", "PDF"),
    (0, b"\x93NUMPY", NUMPY),
    (0, b"PK\x03\x04", ZIP),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"\x89HDF", "HDF5"),
    (0, b"version https://git-lfs", "Git LFS pointer"),
    (0, b"<", "text (HTML, XML or SVG)"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftyp", "HEIC"),
    (128, b"DICM", "DICOM"),
)
"""Place, bytes there, and the format's name; the first that fits counts."""

_OWN = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"RIFF": "WEBP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}


def foreign(path: Path) -> bool:
    """Whether a file is called like a picture of a format that is not read."""
    return path.suffix.lower() in FOREIGN


def format_of(path: Path) -> str:
    """The name of a file's format by its first bytes, or an empty text."""
    with path.open("rb") as file:
        head = file.read(132)
    own = next((name for begin, name in _OWN.items() if head.startswith(begin)), "")
    return own or next((n for at, begin, n in _BEGINNINGS if head[at:].startswith(begin)), "")


def named(path: Path, formats: tuple[str, ...]) -> str:
    """What to say of a file that no reader of these formats takes: a predicate, and what to do."""
    names = ", ".join(formats)
    found = format_of(path)
    if path.stat().st_size == 0:
        return f"is not a {names} file, it is empty: replace it"
    if found == "Git LFS pointer":
        return f"is not a {names} file but a Git LFS pointer: fetch it with git lfs pull"
    if found in formats:
        return f"is a {found} file of a kind that is not read, or damaged: save it again as PNG or .npy"
    what = f" but {found}" if found else ""
    return f"is not a {names} file{what}: convert it to PNG"


def array_kind(path: Path) -> str:
    """nii, npy or npz by the suffix, in any case. UserError if the content is of another kind."""
    name = path.name.lower()
    kind = next((k for k in ("nii", "npy", "npz") if name.endswith((f".{k}", f".{k}.gz"))), "")
    found = format_of(path)
    actual = {NUMPY: "npy", ZIP: "npz"}.get(found, "")
    if kind in ("npy", "npz") and actual and actual != kind:
        raise UserError(f"{path} is an .{actual} file by its content: rename it")
    if kind and found and not actual and found not in ("gzip", *(("HDF5",) if kind == "nii" else ())):
        raise UserError(f"{path} is {found} by its content: rename it, or convert it to PNG")
    if kind and not name.endswith(f".{kind}") and kind != "nii":
        raise UserError(f"{path} is packed: unpack it, or save it by numpy.savez_compressed")
    if kind:
        return kind
    if found in _OWN.values():
        raise UserError(f"{path} is no source of pictures but a picture: give the folder that holds it")
    if foreign(path) or (found and not actual):
        raise UserError(
            f"{path} is no source of pictures: it is {found or path.suffix[1:].upper()}, convert it to PNG"
        )
    raise UserError(f"{path} is no source of pictures: give a folder, .npz, .npy or .nii file")
