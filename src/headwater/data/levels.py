"""Which numbers of a picture are black and white: known by type and range, said by the user, or asked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from headwater.errors import UserError, need
from headwater.notes import note

Window = tuple[float, float]
"""The values that become black and white."""

ROUNDING = 1e-4
"""How far beyond [0, 1] or [-1, 1] a value may lie and still be one that was rounded."""

_DIM = 16
"""Unsigned numbers that stay below this part of their type's range were not made for that range."""


class UnreadableError(UserError):
    """One input file that cannot be used; the sentence names it."""


def check_window(window: Window | None) -> Window | None:
    """The same window. Raises UserError unless it is two finite values, the lower one first."""
    if window is not None:
        need(len(window) == 2, f"a window is two values, LOW and HIGH, not {len(window)}")
        low, high = window
        whole = math.isfinite(low) and math.isfinite(high)
        need(
            whole and low < high,
            f"the window goes from {digits(low)} to {digits(high)}: give two values, the lower one first",
        )
    return window


def black_and_white(
    values: np.ndarray[Any, Any], where: str, window: Window | None = None, *, lossless: bool = True
) -> Window:
    """The values that are black and white in an array of pixels of any shape, as its type stores them.

    bool is 0 and 1; unsigned integers span their type's range; floats lie in [0, 1], or in [-1, 1] if some
    are clearly negative. Everything else needs `window`, the user's answer, which goes before.

    where: the name that sentences use. lossless: whether every value is as somebody wrote it, so that a
    picture of 0 and 1 cannot be black with noise.

    Raises:
        UnreadableError: if the type holds no brightness, a value is not finite, or nobody can know.
        UserError: if the window is none.
    """
    check_window(window)
    if values.dtype.kind not in "buif":
        raise UnreadableError(f"{where} has numbers of type {values.dtype}: give uint8 or float32")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise UnreadableError(f"{where} has {count} values that are NaN or infinite: replace them")
    low, high = float(values.min()), float(values.max())
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "b":
        return 0.0, 1.0
    if window is not None:
        return _answered(values.dtype, where, window, low, high)
    if kind == "u":
        return _unsigned(float(np.iinfo(values.dtype).max), size, where, low, high, lossless)
    if kind == "f" and low >= -ROUNDING and high <= 1 + ROUNDING:
        if low > 0.05:
            note("has no value near 0 and is read as [0, 1]; if its black is -1, give --window -1 1", where)
        return 0.0, 1.0
    if kind == "f" and low >= -1 - ROUNDING and high <= 1 + ROUNDING:
        if low > -0.5:
            raise UnreadableError(
                f"{where} goes from {digits(low)} to {digits(high)}, so its black may be 0 or -1: "
                f"{answer('0 1')}, or --window -1 1"
            )
        return -1.0, 1.0
    raise _unknown(values, where, low, high)


def answer(values: str = "LOW HIGH") -> str:
    """How a user says which values are black and white, on the command line and from Python."""
    return f"give --window {values} (in Python window=({values.replace(' ', ', ')}))"


def digits(value: float) -> str:
    """A number with enough digits to tell 1.0000001 from 1, and whole ones without a point."""
    return f"{value:.9g}"


def _unsigned(top: float, size: int, where: str, low: float, high: float, lossless: bool) -> Window:
    full = f"{top:.0f}"
    if high == 1 and low == 0 and lossless:
        raise UnreadableError(
            f"{where} holds 0 and 1 only: {answer('0 1')} if 1 is white, --window 0 {full} if nearly black"
        )
    dim = 0 < high <= top / _DIM
    if dim and size > 1:
        bits = next(b for b in (1, 8, 10, 12, 14, 16, 24, 32, 48, 64) if high < 2**b)
        raise UnreadableError(
            f"{where} has {8 * size}-bit pixels, but none above {high:.0f}: {answer(f'0 {2**bits - 1}')} if "
            f"they are of {bits} bits, or --window 0 {full} if the picture is that dark"
        )
    if dim:
        note(
            f"has no value above a {_DIM}th of {full} and is read as nearly black; --window says otherwise",
            where,
        )
    elif size > 1 and 0 < high <= top / 4:
        note(
            f"has no value above a quarter of {full} and is read as dark; --window LOW HIGH says otherwise",
            where,
        )
    return 0.0, top


def _answered(dtype: np.dtype[Any], where: str, window: Window, low: float, high: float) -> Window:
    black, white = window
    if dtype.kind == "u" and (black < 0 or white > float(np.iinfo(dtype).max)):
        top = float(np.iinfo(dtype).max)
        if dtype.itemsize == 1:  # a picture of a screen, beside others that have units
            note("has 8-bit pixels, which cannot hold the window: read from 0 to 255", where)
            return 0.0, top
        raise UnreadableError(
            f"{where} holds values from 0 to {top:.0f}, and the window goes from {digits(black)} to "
            f"{digits(white)}: give it in its own values, which go from {digits(low)} to {digits(high)}"
        )
    if low < high and (min(high, white) - max(low, black)) < 0.02 * (white - black):
        note("has next to no values inside the window, so it is of one brightness: check --window", where)
    return float(black), float(white)


def _unknown(values: np.ndarray[Any, Any], where: str, low: float, high: float) -> UnreadableError:
    found = f"{where} goes from {digits(low)} to {digits(high)}"
    whole = values.dtype.kind == "i" or bool((values == np.round(values)).all())
    if whole and low >= 0 and high <= 1:
        return UnreadableError(
            f"{found} as {values.dtype}: {answer('0 1')} if 1 is white, or save it as bool"
        )
    if whole and low >= 0 and high <= 255:
        return UnreadableError(
            f"{found} in whole numbers ({values.dtype}): {answer('0 255')} if 255 is white, or save uint8"
        )
    return UnreadableError(f"{found}, so what is black and white is not known: {answer()}")
