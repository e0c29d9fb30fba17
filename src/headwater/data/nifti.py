"""NIfTI files: what they say of their place and units is kept, what they leave open is said."""

from __future__ import annotations

import gzip
import logging
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headwater.limits import VOLUME
from headwater.notes import note

from .arrays import checked, corrupt
from .pictures import Limits, UnreadableError, unpacking
from .volumes import Volume, spacing

SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")
"""Of files that `read_volume` reads."""
_BEYOND = 1 << 24
"""Most bytes that are read behind the values of a packed file."""
_GZIP = b"\x1f\x8b"
_DENSEST = 1100
"""gzip packs at most so many bytes into one."""
_MM = {"meter": 1000.0, "micron": 0.001}
"""Millimetres of a unit of length; what is not named is in mm already."""
_OTHERS = {
    (".dcm", ".ima"): "DICOM",
    (".mgz", ".mgh"): "FreeSurfer",
    (".nrrd", ".nhdr"): "NRRD",
    (".mha", ".mhd"): "MetaImage",
    (".mnc",): "MINC",
    (".par", ".rec"): "Philips",
}
"""Scans of other formats, by suffix."""


def is_volume(path: Path) -> bool:
    """Whether a file is called like a NIfTI file, in letters of any case."""
    return path.name.lower().endswith(SUFFIXES)


def files_of(path: Path) -> list[Path]:
    """The files that hold what is read as one: itself, and of a pair the other one, if it is there."""
    other = {".hdr": ".img", ".img": ".hdr"}.get(_plain_suffix(path))
    try:
        return [path] if other is None else [path, _sibling(path, other)]
    except UnreadableError:
        return [path]


def other_scan(path: Path) -> str:
    """The format of a scan that is no NIfTI, by its first bytes or suffix; "" if it is none that is known."""
    with path.open("rb") as file:
        if file.read(132)[128:] == b"DICM":
            return "DICOM"
    return next((name for ends, name in _OTHERS.items() if path.name.lower().endswith(ends)), "")


def refused_scan(path: Path, name: str) -> UnreadableError:
    """The sentence for a scan of another format."""
    how = "all files of the series, by dcm2niix" if name == "DICOM" else "by nibabel, SimpleITK or Slicer"
    return UnreadableError(f"{path} is a {name} file: convert it to NIfTI ({how})")


def read_volume(path: Path | str, limits: Limits | None = None) -> Volume:
    """Read a NIfTI volume, single file or pair, packed or not, whatever its suffix says.

    Of complex numbers the magnitude is taken, and NaN counts as the lowest value there is, at most 0; notes
    say so, as they say what was assumed of its place where the header leaves that open.

    Raises:
        UnreadableError: if the file is missing, corrupt, of another format, not a single volume of numbers,
            over the limits, without a voxel size, or nibabel is not installed.
    """
    path, limits = checked(path, limits)
    try:
        from nibabel import orientations
    except ImportError:
        raise UnreadableError(f"{path} needs nibabel: pip install 'headwater[medical]'") from None
    if name := other_scan(path):
        raise refused_scan(path, name)
    try:
        with _image(path) as (image, size, available, pixdim):
            shape = _shape(image, path)
            if math.prod(shape) * 8 > limits.array_bytes:
                raise UnreadableError(f"{path} has shape {shape}, over the limit: crop or shrink it")
            stored = math.prod(shape) * image.get_data_dtype().itemsize
            if stored > available:
                raise UnreadableError(f"{path} is cut short (its header promises {stored} bytes): replace it")
            if not limits.unpacks(stored, size, VOLUME):
                raise UnreadableError(unpacking(path, stored, size, limits))
            affine = _affine(image.header, pixdim, path)
            turn = orientations.io_orientation(affine)
            as_is = bool((turn == [[0, 1], [1, 1], [2, 1]]).all())
            values = _values(image, as_is, path).reshape(shape)
        values = orientations.apply_orientation(values, turn)
        affine = affine @ orientations.inv_ornt_aff(turn, shape)
    except UnreadableError:
        raise
    except Exception as error:
        # nibabel has no common base for what its readers raise on broken files.
        raise corrupt(path, error) from None
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.ascontiguousarray(values, np.float32)
    volume = Volume(torch.from_numpy(_finite(values, path)), affine)
    _say_the_plane(volume, path)
    return volume


@contextmanager
def _image(path: Path) -> Iterator[tuple[Any, int, int, np.ndarray]]:
    """The file as nibabel's image, of which the header alone is read; the bytes of the file with its values;
    the bytes that they can have in it; and the voxel size as it stands in the header, (3,), which nibabel
    would mend in silence."""
    import nibabel
    from nibabel.fileholders import FileHolder

    header = _sibling(path, ".hdr") if _plain_suffix(path) == ".img" else path
    with _unpacked(header) as file:
        start = file.read(544)
        file.seek(0)
        size, pair = _kind(start, path)
        order = "<" if struct.unpack("<i", start[:4])[0] == size else ">"
        pixdim = np.frombuffer(
            start, f"{order}f4" if size == 348 else f"{order}f8", 3, 80 if size == 348 else 112
        )
        _check_extensions(start, size, order, path)
        cls = {
            (348, False): nibabel.Nifti1Image,
            (348, True): nibabel.Nifti1Pair,
            (540, False): nibabel.Nifti2Image,
            (540, True): nibabel.Nifti2Pair,
        }[size, pair]
        if not pair:
            with _silent():
                image = cls.from_file_map({"image": FileHolder(fileobj=file)})
            yield image, header.stat().st_size, _room(header), pixdim
            return
        data = path if _plain_suffix(path) == ".img" else _sibling(path, ".img")
        with _unpacked(data) as values:
            holders = {"header": FileHolder(fileobj=file), "image": FileHolder(fileobj=values)}
            with _silent():
                image = cls.from_file_map(holders)
            yield image, data.stat().st_size, _room(data), pixdim


@contextmanager
def _silent() -> Iterator[None]:
    """nibabel says on standard error what it mends; what matters of it is said here, in our words."""
    logger = logging.getLogger("nibabel.global")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


@contextmanager
def _unpacked(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        if not packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as inside:
            yield inside
            # The checksum is behind the last byte: without reading on, damage would go unnoticed.
            left = _BEYOND
            while left > 0 and (part := inside.read(1 << 20)):
                left -= len(part)


def _room(path: Path) -> int:
    """The bytes that a file can hold, unpacked."""
    size = path.stat().st_size
    with path.open("rb") as file:
        return size * _DENSEST if file.read(2) == _GZIP else size


def _kind(start: bytes, path: Path) -> tuple[int, bool]:
    """Length of the header, and whether the values are in a file of their own."""
    sizes = struct.unpack("<i", start[:4]) + struct.unpack(">i", start[:4]) if len(start) >= 4 else ()
    if 540 in sizes and start[4:7] in (b"n+2", b"ni2"):
        return 540, start[4:7] == b"ni2"
    if 348 in sizes and start[344:347] in (b"n+1", b"ni1"):
        return 348, start[344:347] == b"ni1"
    if 348 in sizes and len(start) >= 348:
        raise UnreadableError(
            f"{path} is an Analyze file, which does not say its left from its right: convert it to NIfTI"
        )
    raise UnreadableError(f"{path} is not a NIfTI file: convert it")


def _check_extensions(start: bytes, size: int, order: str, path: Path) -> None:
    """UnreadableError where what is said to lie between header and values is too long: it is read at once."""
    if size == 348:
        ends = struct.unpack_from(f"{order}f", start, 108)[0]
    else:
        ends = struct.unpack_from(f"{order}q", start, 168)[0] if len(start) >= 540 else 0
    if not ends <= _BEYOND:
        raise UnreadableError(f"{path} says that its values begin at byte {ends:g}: get another copy")


def _plain_suffix(path: Path) -> str:
    name = path.name.lower()
    return Path(name[:-3] if name.endswith(".gz") else name).suffix


def _sibling(path: Path, suffix: str) -> Path:
    """The other file of a pair, in letters of any case, packed or not."""
    base = path.name[: -len(".gz")] if path.name.lower().endswith(".gz") else path.name
    wanted = base[: -len(suffix)].lower() + suffix
    found = [p for p in path.parent.iterdir() if p.name.lower() in (wanted, f"{wanted}.gz")]
    if not found:
        raise UnreadableError(f"{path} is half of a pair: put its {suffix} file beside it")
    return min(found)


def _shape(image: Any, path: Path) -> tuple[int, int, int]:
    full = tuple(int(n) for n in image.shape)
    if len(full) < 2 or min(full) < 1:
        raise UnreadableError(f"{path} has shape {full}: give a volume (X, Y, Z)")
    more = math.prod(full[3:])
    if more != 1:
        raise UnreadableError(
            f"{path} has shape {full}, {more} volumes: give one volume a file, such as "
            f"nibabel.load(file).slicer[..., {', '.join('0' for _ in full[3:])}]"
        )
    x, y, z = (*full, 1)[:3]
    if image.get_data_dtype().names is not None:
        raise UnreadableError(f"{path} holds colours and no values: save its slices as pictures")
    return x, y, z


def _values(image: Any, single: bool, path: Path) -> np.ndarray:
    """The values as they are stored, or scaled in single precision or in double."""
    with np.errstate(over="ignore", invalid="ignore"):
        if image.get_data_dtype().kind == "c":
            note("holds complex numbers: their magnitude is taken, and the phase is left out", path)
            return np.abs(np.asarray(image.dataobj))
        return np.asarray(image.dataobj, np.float32 if single else None)


def _finite(values: np.ndarray, path: Path) -> np.ndarray:
    if np.isfinite(values).all():
        return values
    blank = np.isnan(values)
    if np.isinf(values).any() or blank.all():
        what = "NaN alone" if blank.all() else "values that are infinite or beyond 32-bit numbers"
        raise UnreadableError(f"{path} holds {what}, which are not finite: replace them")
    low = min(0.0, float(values[~blank].min()))
    note(f"holds NaN: taken for {low:g}, as background", path)
    return np.where(blank, np.float32(low), values)


def _affine(header: Any, pixdim: np.ndarray, path: Path) -> np.ndarray:
    """From voxels to millimetres by the sform, or else the qform, or else the voxel size."""
    unit = _MM.get(header.get_xyzt_units()[0], 1.0)
    sform, qform = header.get_sform(coded=True)[0], _qform(header, path)
    best = np.asarray(header.get_base_affine() if qform is None else qform) if sform is None else sform
    sides = spacing(best) * unit if sform is not None else np.abs(pixdim[:3].astype(np.float64)) * unit
    shown = " x ".join(f"{side:.4g}" for side in sides)
    if not np.isfinite(best).all() or not np.isfinite(sides).all() or min(sides) < 1e-9 or _flat(best):
        raise UnreadableError(
            f"{path} gives voxels of {shown} mm that span no volume: set the voxel size, sform and qform of "
            "its header"
        )
    if sform is None and qform is None:
        note(
            "does not say where it lies (its sform and qform codes are 0): its axes are taken to run to the "
            "left, to the front and up, as nibabel and FSL do",
            path,
        )
    if max(sides) > 100 or max(sides) > 50 * min(sides):
        note(f"gives voxels of {shown} mm: check the voxel size and unit of its header", path)
    if sform is not None and qform is not None and _differ(sform, qform, header.get_data_shape()):
        note("has an sform and a qform that place it differently: the sform is taken", path)
    return np.diag([unit, unit, unit, 1.0]) @ best


def _qform(header: Any, path: Path) -> np.ndarray | None:
    try:
        return header.get_qform(coded=True)[0]
    except Exception:  # a quaternion that is none; nibabel raises what its arithmetic does
        if int(header["sform_code"]) > 0:
            return None
        raise UnreadableError(
            f"{path} has a qform that is no rotation: set the qform of its header"
        ) from None


def _flat(affine: np.ndarray) -> bool:
    """Whether the edges of a voxel lie in one plane, or nearly so."""
    return bool(abs(np.linalg.det(affine[:3, :3] / spacing(affine))) < 1e-3)


def _differ(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether two affines place a corner of the volume more than a tenth of a voxel apart."""
    sizes = (*shape, 1, 1)[:3]
    ends = np.array(list(np.ndindex(2, 2, 2))) * (np.array(sizes) - 1)
    apart = np.abs(np.c_[ends, np.ones(8)] @ (one - other).T).max()
    return bool(apart > 0.1 * spacing(one).min())


def _say_the_plane(volume: Volume, path: Path) -> None:
    """Notes on slices that are not what they may seem: turned, or across the finest plane."""
    wide, high, thick = spacing(volume.affine).tolist()
    edges = volume.affine[:3, :3] / spacing(volume.affine)
    turned = float(np.degrees(np.arccos(np.clip(np.abs(edges).max(0).min(), 0, 1))))
    if turned > 15:
        note(
            f"lies {turned:.0f} degrees askew: its slices are those along its own axes, nearest to axial",
            path,
        )
    if max(wide, high) > 2 * thick and volume.values.shape[2] > 1:
        note(
            f"has voxels of {wide:.4g} x {high:.4g} mm in axial slices that are {thick:.4g} mm thick: "
            "another plane is finer, and the axial one is taken",
            path,
        )
