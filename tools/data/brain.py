"""brain: axial slices of two heads in MNI space, skull removed, 3 mm pixels, anterior up."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .pack import Pack
from .sources import Sources

# World box in mm (x right, y anterior): 192 x 192 mm around the middle of the brain.
LEFT, BACK, EXTENT, PIXEL = -96, -113, 192, 3
# Axial positions in mm, from the temporal poles to the vertex.
LEVELS = range(-36, 68)


def build(sources: Sources) -> Pack:
    mni_folder = sources.wheel("nilearn", "0.14.1") / "nilearn/datasets/data"
    colin_folder = sources.debian("mricron-data", "1.2.20211006+dfsg-4")
    stem = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
    t1, grey, white = (_slices(mni_folder / stem.format(kind)) for kind in ("t1", "gm", "wm"))
    mni = {
        "images": _scale(t1),
        "mask": _area(t1 > 0) >= 0.5,
        "gm": np.rint(_area(grey)).astype(np.uint8),
        "wm": np.rint(_area(white)).astype(np.uint8),
    }
    head = _slices(colin_folder / "usr/share/mricron/templates/ch2bet.nii.gz")
    colin = {"images": _scale(head), "mask": _area(head > 0) >= 0.5}
    z = np.array(LEVELS, dtype=np.int16)
    return Pack(
        name="brain",
        files={"brain-mni": {**mni, "z": z}, "brain-colin": {**colin, "z": z}},
        licence="McGill notice (copying with the notice permitted); BSD-3-Clause packages",
        sources=[
            {"package": "nilearn", "version": "0.14.1", "index": "PyPI"},
            {"package": "mricron-data", "version": "1.2.20211006+dfsg-4", "index": "Debian"},
        ],
        about={
            "content": "64x64 gray axial T1 slices at 3 mm, anterior up, subject's left at left",
            "classes": ["background", "csf", "gm", "wm"],
            "splits": {"mni": len(z), "colin": len(z)},
            "split_by": "head: MNI152 (an average of 152 heads) and Colin27 (one head)",
            "changes": "cut into slices, averaged to 3 mm, brightness scaled to 0..255",
        },
    )


def _slices(path: Path) -> np.ndarray:
    """Slices (n, 192, 192) at 1 mm, rows from anterior to posterior, columns from left."""
    import nibabel

    image = nibabel.load(path)
    volume, affine = np.asanyarray(image.dataobj), image.affine
    if not np.array_equal(affine[:3, :3], np.eye(3)):
        raise ValueError(f"{path.name} is not on a 1 mm right-anterior-superior grid")
    x0, y0, z0 = affine[:3, 3].astype(int)
    boxed = np.zeros((EXTENT, EXTENT, len(LEVELS)), dtype=volume.dtype)
    start = (x0 - LEFT, y0 - BACK)
    src = [slice(max(0, -s), min(n, EXTENT - s)) for s, n in zip(start, volume.shape, strict=False)]
    dst = [slice(r.start + s, r.stop + s) for r, s in zip(src, start, strict=True)]
    low = LEVELS.start - z0
    boxed[dst[0], dst[1]] = volume[src[0], src[1], low : low + len(LEVELS)]
    return boxed.transpose(2, 1, 0)[:, ::-1]


def _area(stack: np.ndarray) -> np.ndarray:
    n, h, w = stack.shape
    blocks = stack.reshape(n, h // PIXEL, PIXEL, w // PIXEL, PIXEL).astype(np.float64)
    return blocks.mean(axis=(2, 4))


def _scale(stack: np.ndarray) -> np.ndarray:
    """Brightness so that the 99.5th percentile inside the brain becomes 200.

    White matter stays below white, so that a brighter lesion can be told from it.
    """
    shrunk = _area(stack)
    top = np.percentile(shrunk[_area(stack > 0) >= 0.5], 99.5)
    return np.rint(np.clip(shrunk * (200 / top), 0, 255)).astype(np.uint8)
