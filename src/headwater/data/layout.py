"""Which axes of an array of pictures are which: known by their lengths, or asked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from headwater.notes import note

from .levels import UnreadableError

Array = np.ndarray[Any, Any]

CHANNELS = (1, 3, 4)
"""Gray, RGB, RGB with transparency."""
_SMALL = 8
"""A side shorter than this is rather one of channels, where the other axes allow it."""

_RESHAPED: tuple[tuple[str, Callable[[Array], Array]], ...] = (
    ("array[:, None]", lambda a: a[:, None]),
    ("array[..., None]", lambda a: a[..., None]),
    ("array[None]", lambda a: a[None]),
    ("array.transpose(2, 0, 1)[None]", lambda a: a.transpose(2, 0, 1)[None]),
    ("array.transpose(1, 2, 0)[None]", lambda a: a.transpose(1, 2, 0)[None]),
    ("array.transpose(2, 0, 1)[:, None]", lambda a: a.transpose(2, 0, 1)[:, None]),
    ("array.transpose(0, 3, 1, 2)", lambda a: a.transpose(0, 3, 1, 2)),
    ("array.transpose(0, 2, 3, 1)", lambda a: a.transpose(0, 2, 3, 1)),
)
"""What makes four axes of an array, of which some say by their lengths alone what they are."""


@dataclass(frozen=True)
class _Reading:
    """One meaning of the axes."""

    axes: str
    """N, C, H, W, one letter an axis."""
    what: str

    def stack(self, array: Array) -> Array:
        """The array as (N, C, H, W)."""
        for letter in "NC":
            if letter not in self.axes:
                return _Reading(letter + self.axes, self.what).stack(array[None])
        return array.transpose([self.axes.index(letter) for letter in "NCHW"])

    def sense(self, array: Array) -> tuple[int, bool]:
        """How well it fits: the shorter side of its pictures, as far as that tells a picture from channels,
        and then whether it does without opacity."""
        _, channels, height, width = self.stack(array).shape
        return min(_SMALL, height, width), channels < 4


def batch_of(array: Array, where: str, gray: bool = False) -> Array:
    """An array of one or more pictures as (N, C, H, W), C 1, 3 or 4; a view.

    (H, W) is one picture, (H, W, C) one, (N, H, W) gray ones; (N, H, W, C) and (N, C, H, W) are pictures. Of
    two meanings the one counts whose pictures are not absurdly narrow: (48, 40, 3) is one picture in colours.

    gray: whether gray pictures are wanted, so that (3, H, W) is rather three of them.

    Raises:
        UnreadableError: if it has other axes, or means two things; the sentence says how to reshape it.
    """
    shape = tuple(array.shape)
    if 0 in shape or not 2 <= len(shape) <= 4:
        held = "is empty" if 0 in shape else "has no axes of pictures"
        raise UnreadableError(f"{where} has shape {shape}, which {held}: use (N, H, W) or (N, H, W, 3)")
    found = _readings(array)
    if gray and [reading.axes for reading in found] == ["NHW", "CHW"]:
        note(
            "is read as 3 gray pictures, as gray ones are wanted; save array[None] if it is one in colours",
            where,
        )
        found = found[:1]
    if len(found) > 1:
        raise _ask(array, where, found)
    if not found:
        raise UnreadableError(f"{where} has shape {shape}: use (N, H, W) or (N, H, W, C), C being 1, 3 or 4")
    _check_slices(array, where, found[0])
    return found[0].stack(array)


def _readings(array: Array) -> list[_Reading]:
    """The meanings that its lengths allow, without those whose pictures are narrower than others'."""
    shape = array.shape
    first, last = (shape[-3] in CHANNELS, shape[-1] in CHANNELS) if len(shape) > 2 else (False, False)
    if len(shape) == 2:
        found = [_Reading("HW", "one gray picture")]
    elif len(shape) == 4:
        found = [_Reading("NHWC", "channels at the end")] if last else []
        found += [_Reading("NCHW", "channels after the first axis")] if first else []
    else:
        found = [_Reading("NHW", f"{shape[0]} gray picture{'s' if shape[0] > 1 else ''}")]
        found += [_Reading("HWC", "one picture with its channels at the end")] if last else []
        # Four gray pictures are likelier than one with transparency that begins with its channels.
        found += [_Reading("CHW", "one picture with its channels first")] if shape[0] == 3 else []
    best = max((reading.sense(array) for reading in found), default=None)
    return [reading for reading in found if reading.sense(array) == best]


def _ask(array: Array, where: str, found: list[_Reading]) -> UnreadableError:
    ways = [(reading.what, _way(array, reading)) for reading in found]
    what = " or ".join(what for what, _ in ways)
    if all(way for _, way in ways):
        how = ", ".join(f"{way} for {what}" for what, way in ways)
        return UnreadableError(f"{where} has shape {array.shape}, which may be {what}: save {how}")
    return UnreadableError(
        f"{where} has shape {array.shape}, which may be {what}, and its sides do not tell: save pictures "
        f"that are {_SMALL} pixels wide and high at least"
    )


def _way(array: Array, wanted: _Reading) -> str:
    """How to write the array with four axes that mean only what is wanted; empty if there is no such way."""
    meant = wanted.stack(array)
    for text, reshape in _RESHAPED:
        try:
            shown = reshape(array)
        except ValueError:
            continue
        found = _readings(shown) if shown.ndim == 4 else []
        if len(found) == 1 and _same(found[0].stack(shown), meant):
            return text
    return ""


def _same(a: Array, b: Array) -> bool:
    """Whether two views of one array are the same one; the strides of an axis of length 1 mean nothing."""
    steps = [[s for n, s in zip(v.shape, v.strides, strict=True) if n > 1] for v in (a, b)]
    return a.shape == b.shape and steps[0] == steps[1]


def _check_slices(array: Array, where: str, reading: _Reading) -> None:
    """Raise or note where three axes are rather a volume with its slices last, or two are flat rows."""
    if reading.axes == "HW":
        width = array.shape[1]
        flat = any(width % c == 0 and math.isqrt(width // c) ** 2 * c == width for c in (1, 3))
        if flat and width >= 256 and array.shape[0] != width:
            note(
                "is read as one picture, not as a picture a row; give 3 or 4 axes if it holds several", where
            )
    elif reading.axes == "NHW":
        n, height, width = array.shape
        if width < _SMALL <= min(n, height):
            raise UnreadableError(
                f"{where} has shape {array.shape}: pictures have 1, 3 or 4 channels, not {width}; save "
                f"array[..., None] for {n} gray pictures of {height} x {width}"
            )
        if n == height != width and n >= _SMALL:
            raise UnreadableError(
                f"{where} has shape {array.shape}, which may be {n} gray pictures of {height} x {width} or "
                f"{width} of {n} x {height}: save array[:, None] for the former, "
                "array.transpose(2, 0, 1)[:, None] for the latter"
            )
        if n == 4:
            note("is read as 4 gray pictures; save array[None] if it is one whose channels come first", where)
