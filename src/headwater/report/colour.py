"""Colour tables computed in OKLCh, where equal steps look equal (Ottosson 2020, "A perceptual
color space for image processing")."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

_LMS_FROM_LAB = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_RGB_FROM_LMS = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def _linear_rgb(lch: NDArray[np.float64]) -> NDArray[np.float64]:
    hue = np.deg2rad(lch[..., 2])
    lab = np.stack([lch[..., 0], lch[..., 1] * np.cos(hue), lch[..., 1] * np.sin(hue)], axis=-1)
    return ((lab @ _LMS_FROM_LAB.T) ** 3) @ _RGB_FROM_LMS.T


def srgb(lch: NDArray[np.floating]) -> Bytes:
    """OKLCh (..., 3) with lightness in [0, 1], chroma, hue in degrees -> sRGB bytes (..., 3).

    Chroma is halved until the colour exists on screens, so that lightness is never falsified.
    """
    lch = np.array(lch, dtype=np.float64)
    for _ in range(12):
        rgb = _linear_rgb(lch)
        outside = ((rgb < -1e-4) | (rgb > 1 + 1e-4)).any(axis=-1)
        if not outside.any():
            break
        lch[..., 1] = np.where(outside, lch[..., 1] * 0.85, lch[..., 1])
    linear = np.clip(_linear_rgb(lch), 0.0, 1.0)
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(coded * 255).astype(np.uint8)


@cache
def sequential() -> Bytes:
    """(256, 3): night blue through violet and orange to pale yellow, lightness rising linearly."""
    p = np.linspace(0.0, 1.0, 256)
    lightness = 0.14 + 0.83 * p
    hue = np.interp(p, [0.0, 0.35, 0.6, 0.8, 1.0], [275.0, 325.0, 385.0, 420.0, 465.0])
    chroma = 0.03 + 0.19 * np.sin(np.pi * np.clip(0.06 + 0.88 * p, 0, 1)) ** 0.8
    return srgb(np.stack([lightness, chroma, hue % 360.0], axis=-1))


@cache
def diverging() -> Bytes:
    """(256, 3): blue for negative, near white at the centre, red for positive."""
    p = np.linspace(-1.0, 1.0, 256)
    lightness = 0.97 - 0.55 * np.abs(p)
    chroma = 0.2 * np.abs(p) ** 0.9
    hue = np.where(p < 0, 250.0, 28.0)
    return srgb(np.stack([lightness, chroma, hue], axis=-1))


@cache
def categorical(count: int) -> Bytes:
    """(count, 3): class colours; class 0 is a dark neutral, since it is background by habit."""
    index = np.arange(max(1, count))
    # The golden angle keeps any number of neighbouring classes apart in hue.
    hue = (25.0 + 137.508 * (index - 1)) % 360.0
    lightness = np.where(index % 2 == 1, 0.72, 0.58)
    chroma = np.where(index == 0, 0.01, 0.15)
    lightness = np.where(index == 0, 0.28, lightness)
    return srgb(np.stack([lightness, chroma, hue], axis=-1))


def reads_dark(rgb: Bytes) -> bool:
    """True where white text is easier to read on `rgb` (3,) than black (WCAG luminance)."""
    coded = rgb.astype(np.float64) / 255
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ np.array([0.2126, 0.7152, 0.0722]))
    return luminance < 0.179
