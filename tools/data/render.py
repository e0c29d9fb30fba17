"""SVG to arrays, through resvg (resvg_py, a build-time dependency only)."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def render(svg: str, size: int, crisp: bool = False) -> np.ndarray:
    """Render on white: uint8 (size, size, 3). `crisp` turns anti-aliasing off."""
    import resvg_py

    png = resvg_py.svg_to_bytes(
        svg_string=svg,
        width=size,
        height=size,
        background="#ffffff",
        skip_system_fonts=True,
        shape_rendering="crisp_edges" if crisp else "geometric_precision",
    )
    return np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGB"))


def shrink(picture: np.ndarray, factor: int) -> np.ndarray:
    """Area average of uint8 (H, W, C) over factor x factor blocks, rounded to uint8."""
    h, w, c = picture.shape
    blocks = picture.reshape(h // factor, factor, w // factor, factor, c).astype(np.float64)
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
