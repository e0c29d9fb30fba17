"""Pictures, masks, label maps and arrays as programs write them, each with what a reader must find in it."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

Rng = np.random.Generator
Array = np.ndarray


@dataclass(frozen=True)
class Odd:
    """A file, and what is in it.

    truth: what a reader must return if it returns anything; None where it must refuse or say what it assumed.
    checked: whether the format has checksums, so that no damage to it can go unnoticed.
    """

    name: str
    data: bytes
    truth: Array | None
    tolerance: float = 1e-6
    checked: bool = False


def picture(rng: Rng) -> Odd:
    """A picture: truth float (C, H, W) in [-1, 1], upright."""
    height, width = (int(n) for n in rng.integers(6, 24, 2))
    colour = bool(rng.integers(2))
    pixels = rng.integers(0, 256, (height, width, 3) if colour else (height, width), dtype=np.uint8)
    image = Image.fromarray(pixels)
    return _PICTURES[int(rng.integers(len(_PICTURES)))](rng, image, pixels)


def _unit(pixels: Array, top: float = 255) -> Array:
    """Pixels as a reader gives them, (C, H, W) in [-1, 1]."""
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return planes.astype(np.float64) / top * 2 - 1


def _saved(image: Image.Image, kind: str, **how: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **how)  # type: ignore[arg-type]
    return out.getvalue()


def _png(rng: Rng, image: Image.Image, pixels: Array) -> Odd:
    return Odd("p.png", _saved(image, "PNG"), _unit(pixels), checked=True)


def _opaque(rng: Rng, image: Image.Image, pixels: Array) -> Odd:
    mode = "LA" if pixels.ndim == 2 else "RGBA"
    return Odd("p.PNG", _saved(image.convert(mode), "PNG"), _unit(pixels), checked=True)


def _palette(rng: Rng, image: Image.Image, pixels: Array) -> Odd:
    colours = rng.integers(0, 256, (16, 3), dtype=np.uint8)
    index = rng.integers(0, 16, pixels.shape[:2], dtype=np.uint8)
    found = Image.fromarray(index)
    found.putpalette(colours.tobytes())
    return Odd("p.png", _saved(found, "PNG"), _unit(colours[index]), checked=True)


def _one_bit(rng: Rng, image: Image.Image, pixels: Array) -> Odd:
    on = pixels.reshape(*pixels.shape[:2], -1)[..., 0] > 127
    kind = ("PNG", "TIFF")[int(rng.integers(2))]
    data = _saved(Image.fromarray(on.astype(np.uint8) * 255).convert("1"), kind)
    return Odd("p.tif", data, _unit(on.astype(np.uint8) * 255), checked=kind == "PNG")


def _sixteen(rng: Rng, image: Image.Image, pixels: Array) -> Odd:
    deep = rng.integers(0, 65536, pixels.shape[:2], dtype=np.uint16)
    deep[0, 0] = 65535
    kind = ("PNG", "TIFF")[int(rng.integers(2))]
    return Odd("p.png", _saved(Image.fromarray(deep), kind), _unit(deep, 65535), checked=kind == "PNG")


def _twelve(rng: Rng, image: Image.Image, pixels: Array) -> Odd:
    """12 bits in 16, as microscopes and detectors write them: nothing in the file says so."""
    deep = rng.integers(0, 4096, pixels.shape[:2], dtype=np.uint16)
    return Odd("p.tif", _saved(Image.fromarray(deep), "TIFF"), None)


def _tiff(rng: Rng, image: Image.Image, pixels: Array) -> Odd:
    how = (None, "tiff_lzw", "tiff_adobe_deflate", "packbits")[int(rng.integers(4))]
    return Odd("p.tiff", _saved(image, "TIFF", compression=how), _unit(pixels))


def _white_is_zero(rng: Rng, image: Image.Image, pixels: Array) -> Odd:
    plane = pixels if pixels.ndim == 2 else pixels[..., 0].copy()
    return Odd("p.tif", tiff(255 - plane, photometric=0), _unit(plane))


def tiff(plane: Array, photometric: int) -> bytes:
    """An uncompressed gray TIFF, one strip; photometric 0 is white-is-zero."""
    order, bits = plane.astype(plane.dtype.newbyteorder("<")), plane.dtype.itemsize * 8
    height, width = plane.shape
    tags = [
        *((256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric)),
        *((273, 4, 8), (277, 3, 1), (278, 3, height), (279, 4, order.nbytes)),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = struct.pack("<2sHI", b"II", 42, 8 + order.nbytes)
    return head + order.tobytes() + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)


def _jpeg(rng: Rng, image: Image.Image, pixels: Array) -> Odd:
    smooth, truth = _smooth(rng, pixels)
    return Odd("p.jpg", _saved(smooth, "JPEG", quality=100, subsampling=0), truth, 0.06)


def _phone(rng: Rng, image: Image.Image, pixels: Array) -> Odd:
    smooth, truth = _smooth(rng, pixels)
    small = Image.new(smooth.mode, (4, 4))
    data = _saved(smooth, "MPO", quality=100, subsampling=0, save_all=True, append_images=[small])
    return Odd("p.JPG", data, truth, 0.06)


def _cmyk(rng: Rng, image: Image.Image, pixels: Array) -> Odd:
    grey = np.full(pixels.shape[:2], int(rng.integers(0, 256)), dtype=np.uint8)
    inks = np.stack([*[np.zeros_like(grey)] * 3, 255 - grey], -1)
    data = _saved(Image.fromarray(inks, "CMYK"), "JPEG", quality=100)
    return Odd("p.jpeg", data, _unit(np.stack([grey] * 3, -1)), 0.06)


def _turned(rng: Rng, image: Image.Image, pixels: Array) -> Odd:
    tag, exif = int(rng.integers(1, 9)), Image.Exif()
    exif[0x0112] = tag
    upright = _TURNS[tag](pixels)
    return Odd("p.png", _saved(image, "PNG", exif=exif), _unit(upright), checked=True)


def _webp(rng: Rng, image: Image.Image, pixels: Array) -> Odd:
    return Odd("p.webp", _saved(image.convert("RGB"), "WEBP", lossless=True), _unit(pixels))


def _pages(rng: Rng, image: Image.Image, pixels: Array) -> Odd:
    kind = ("TIFF", "WEBP", "PNG")[int(rng.integers(3))]
    other = Image.fromarray(255 - pixels)
    return Odd("p.tif", _saved(image, kind, save_all=True, append_images=[other]), None)


def _other_format(rng: Rng, image: Image.Image, pixels: Array) -> Odd:
    kind = ("BMP", "GIF", "PPM", "TGA", "ICO", "AVIF")[int(rng.integers(6))]
    return Odd("p.png", _saved(image, kind), None)


def _smooth(rng: Rng, pixels: Array) -> tuple[Image.Image, Array]:
    """What a JPEG keeps: a ramp."""
    height, width = pixels.shape[:2]
    ramp = np.linspace(0, 255, width)[None] * 0.5 + np.linspace(0, 255, height)[:, None] * 0.5
    plane = ramp.round().astype(np.uint8)
    full = plane if pixels.ndim == 2 else np.stack([plane, 255 - plane, plane], -1)
    return Image.fromarray(full), _unit(full)


_PICTURES: tuple[Callable[[Rng, Image.Image, Array], Odd], ...] = (
    *(_png, _opaque, _palette, _one_bit, _sixteen, _twelve, _tiff, _white_is_zero, _jpeg, _phone, _cmyk),
    *(_turned, _webp, _pages, _other_format),
)
_TURNS: dict[int, Callable[[Array], Array]] = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p.swapaxes(0, 1)[:, ::-1],
    7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],
    8: lambda p: p.swapaxes(0, 1)[::-1],
}
"""By orientation tag: how what is stored is seen."""


def mask(rng: Rng) -> Odd:
    """A mask: truth bool (H, W), True where it is white."""
    shape = tuple(int(n) for n in rng.integers(6, 24, 2))
    on = rng.integers(0, 2, shape).astype(bool)
    on[0, 0], on[-1, -1] = True, False
    low, high = (0, 255), (0, 1)
    way = int(rng.integers(11))
    if way < 3:
        pair = (low, high, (0, int(rng.integers(2, 255))))[way]
        return Odd(
            "m.png", _saved(Image.fromarray(np.where(on, pair[1], pair[0]).astype(np.uint8)), "PNG"), on
        )
    if way == 3:
        return Odd("m.png", _saved(Image.fromarray(on.astype(np.uint8) * 255).convert("1"), "PNG"), on)
    if way == 4:
        top = (1, 255, 4095, 65535)[int(rng.integers(4))]
        return Odd("m.tif", _saved(Image.fromarray(on.astype(np.uint16) * top), "TIFF"), on)
    if way == 5:
        swapped = bool(rng.integers(2))
        found = Image.fromarray((on ^ swapped).astype(np.uint8))
        found.putpalette([255, 255, 255, 0, 0, 0] if swapped else [0, 0, 0, 250, 240, 200])
        return Odd("m.png", _saved(found, "PNG"), on)
    if way == 6:
        rgb = np.repeat(on[..., None].astype(np.uint8) * 255, 3, -1)
        return Odd("m.TIF", _saved(Image.fromarray(rgb), "TIFF"), on)
    if way == 7:
        return Odd("m.tif", tiff((~on).astype(np.uint8) * 255, photometric=0), on)
    if way == 8:
        noisy = np.where(on, 255, 0).astype(np.uint8)
        return Odd("m.jpg", _saved(Image.fromarray(noisy), "JPEG"), None)
    if way == 9:
        ramp = rng.integers(0, 256, shape, dtype=np.uint8)
        return Odd("m.png", _saved(Image.fromarray(ramp), "PNG"), None)
    equal = Image.fromarray(on.astype(np.uint8))  # two colours of one brightness: neither is white
    equal.putpalette([200, 0, 0, 0, 0, 200])
    return Odd("m.png", _saved(equal, "PNG"), None)


def label_map(rng: Rng) -> Odd:
    """A label map: truth int (H, W), -1 where nothing is labelled (255)."""
    shape = tuple(int(n) for n in rng.integers(6, 24, 2))
    count = int(rng.integers(3, 6))
    classes = rng.integers(0, count, shape)
    classes.flat[:count] = range(count)
    index = classes.astype(np.uint8)
    way = int(rng.integers(7))
    if way == 0:
        return Odd("l.png", _saved(Image.fromarray(index), "PNG"), classes)
    if way == 1:
        found = Image.fromarray(index)
        found.putpalette(rng.integers(0, 256, 768, dtype=np.uint8).tobytes())
        return Odd("l.png", _saved(found, "PNG"), classes)
    if way == 2:
        return Odd("l.tif", _saved(Image.fromarray(classes.astype(np.uint16)), "TIFF"), classes)
    if way == 3:
        hidden = rng.integers(0, 2, shape).astype(bool)
        hidden.flat[:count] = False
        data = _saved(Image.fromarray(np.where(hidden, 255, index).astype(np.uint8)), "PNG")
        return Odd("l.png", data, np.where(hidden, -1, classes))
    if way == 4:
        gaps = np.linspace(0, 254, count).astype(np.uint8)
        return Odd("l.png", _saved(Image.fromarray(gaps[classes]), "PNG"), None)
    if way == 5:
        colours = rng.integers(0, 256, (count, 3), dtype=np.uint8)
        return Odd("l.png", _saved(Image.fromarray(colours[classes]), "PNG"), None)
    soft = rng.integers(0, 256, shape, dtype=np.uint8)
    return Odd("l.jpg", _saved(Image.fromarray(soft), "JPEG"), None)


def array(rng: Rng) -> Odd:
    """Pictures in an .npy or .npz: truth float (N, C, H, W) in [-1, 1]."""
    n, height, width = int(rng.integers(4, 9)), int(rng.integers(9, 20)), int(rng.integers(21, 30))
    colour = bool(rng.integers(2))
    pixels = rng.integers(0, 256, (n, height, width, 3 if colour else 1), dtype=np.uint8)
    pixels[0, 0, 0], pixels[0, 0, 1] = 0, 255
    truth: Array | None = pixels.transpose(0, 3, 1, 2).astype(np.float64) / 255 * 2 - 1
    layout = int(rng.integers(6))
    laid = pixels
    if layout == 1:
        laid = pixels.transpose(0, 3, 1, 2)
    elif layout == 2 and not colour:
        laid = pixels[..., 0]
    elif layout == 3 and colour:
        laid, truth = pixels[0], None if truth is None else truth[:1]
    elif layout == 4 and colour:
        laid, truth = pixels[0].transpose(2, 0, 1), None  # one in colour, or three in gray
    elif layout == 5:
        laid, truth = pixels[:, :, :3, :][..., :1].repeat(3, -1).transpose(0, 3, 1, 2), None  # (N, 3, H, 3)
    tolerance, values = 0.02, laid.astype(np.float64) / 255
    way = int(rng.integers(9))
    stored: Array = laid
    if way == 1:
        stored = values.astype(np.float32)
    elif way == 2:
        stored = (values * 2 - 1).astype(np.float64)
    elif way == 3:
        stored = (values * 2 - 1).astype(">f4")
    elif way == 4:
        stored = values.astype(np.float32) - np.float32(3e-8)
    elif way == 5:
        stored = values.astype(np.float32) * np.float32(1.000001)
    elif way == 6:
        stored = np.asfortranarray(laid.astype(np.uint16) * 257)
    elif way == 7:
        stored, truth = (values * 2000 - 1000).astype(np.float32), None  # units of their own
    elif way == 8:
        stored, truth = (values * 2000 - 1000).astype(np.int16), None
    out = io.BytesIO()
    if rng.integers(2):
        np.save(out, stored)
        return Odd("a.npy", out.getvalue(), truth, tolerance)
    np.savez_compressed(out, images=stored)
    return Odd("a.npz", out.getvalue(), truth, tolerance, checked=True)
