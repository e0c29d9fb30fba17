"""Writing pictures, masks and label maps so that a file is either whole or not there."""

from __future__ import annotations

import colorsys
import io
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from headwater.atomic import write_file


def save_picture(image: Tensor, path: Path | str) -> None:
    """Write float (C, H, W) in [-1, 1], C 1 or 3, as an 8-bit PNG; values outside are clipped.

    Raises:
        ValueError: if the tensor has another shape.
        UserError: if the place cannot be written.
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"a picture has shape (1 or 3, H, W), not {tuple(image.shape)}")
    unit = (image.detach().float().cpu().clamp(-1, 1) + 1) * 127.5
    pixels = unit.round().byte().permute(1, 2, 0).numpy()
    _save(Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels), path)


def save_mask(mask: Tensor, path: Path | str) -> None:
    """Write bool (H, W) as a PNG, white where True.

    Raises:
        ValueError: if the tensor has another shape or type.
        UserError: if the place cannot be written.
    """
    if mask.ndim != 2 or str(mask.dtype) != "torch.bool":
        raise ValueError(f"a mask is bool (H, W), not {mask.dtype} {tuple(mask.shape)}")
    _save(Image.fromarray(mask.cpu().numpy().astype(np.uint8) * 255), path)


def save_labels(labels: Tensor, path: Path | str, palette: list[tuple[int, int, int]] | None = None) -> None:
    """Write int (H, W) with labels 0..254 as an index-coloured PNG; -1 is written as 255.

    Args:
        labels: class of every pixel, -1 for unlabelled.
        path: where to write.
        palette: RGB colour of each class; by default black, then hues that are far apart.

    Raises:
        ValueError: if the tensor has another shape or a label out of range.
        UserError: if the place cannot be written.
    """
    if labels.ndim != 2 or int(labels.min()) < -1 or int(labels.max()) > 254:
        raise ValueError("a label map has shape (H, W) and labels from -1 to 254")
    indices = labels.cpu().numpy().astype(np.int64) % 256
    image = Image.fromarray(indices.astype(np.uint8))
    colours = [*(palette or [(0, 0, 0)])][:255]
    colours += [_colour(i) for i in range(len(colours), 255)]
    image.putpalette([value for colour in [*colours, (128, 128, 128)] for value in colour])
    _save(image, path)


def _save(image: Image.Image, path: Path | str) -> None:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    write_file(path, buffer.getvalue())


def _colour(index: int) -> tuple[int, int, int]:
    # Steps of the golden ratio keep neighbouring classes far apart in hue.
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.65, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)
