"""Measurements by name, as a command line and a config file write them: `block-average 4`, `grey`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headwater.errors import UserError, need
from headwater.operators.linear import Measurement
from headwater.operators.nonlinear import JPEG, Overexposed, PhaseRetrieval
from headwater.operators.spectral import (
    BlockAverage,
    Circular,
    Grey,
    Masked,
    Separable,
    Spectral,
    WalshHadamard,
)
from headwater.operators.tomography import Radon

Shape = tuple[int, int, int]

NAMES = {
    "nothing": "the picture itself, with noise",
    "block-average N": "the mean of every block of N x N pixels",
    "bicubic N": "a picture made N times smaller by antialiased bicubic resizing",
    "grey": "a grey picture of a colour one",
    "mask": "the pixels that `known` marks",
    "compressed-sensing SHARE [SEED]": "a share of the Walsh-Hadamard coefficients",
    "gaussian-blur SIGMA": "a blur with a standard deviation in pixels",
    "motion-blur LENGTH ANGLE": "a blur along a line of so many pixels, its angle in degrees",
    "blur FILE": "a blur by the grey picture FILE, its middle over the pixel",
    "jpeg QUALITY": "what JPEG compression leaves, not linear",
    "overexposed GAIN": "values so many times as bright, cut off at white, not linear",
    "phase-retrieval [PADDING]": "the magnitudes of the Fourier transform of a picture with black around it, "
    "a share of a side on each; not linear",
}
"""What can be written, and what it measures."""


def operator_of(name: str, shape: Shape, known: Tensor | None = None) -> Measurement:
    """The measurement of that name for pictures (C, H, W); see `NAMES`.

    known: bool, broadcastable to the pictures, for `mask`. Blurs go on at the opposite edge. Raises
    UserError, in a sentence, for a name that is none or does not fit the pictures.
    """
    kind, *words = name.split()
    need(
        kind in (*_MAKERS, "mask", "nothing"),
        f"there is no measurement {name!r}: give one of {', '.join(NAMES)}",
    )
    need(
        known is not None or kind != "mask",
        "the measurement `mask` takes a mask of the pixels: give known",
    )
    need(
        known is None or kind == "mask",
        f"known is for the measurement `mask`, not for {name!r}: omit it",
    )
    if known is not None:
        return Masked(known)
    if kind == "nothing":
        return Masked(torch.ones(1, 1, 1, 1, dtype=torch.bool))
    try:
        return _MAKERS[kind](shape, *words)
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        form = next(n for n in NAMES if n.split()[0] == kind)
        raise UserError(f"the measurement {name!r} cannot be read: write it as {form!r}") from error


def scanner_of(name: str, size: tuple[int, int], measured: tuple[int, int]) -> Radon | None:
    """The scanner that made a sinogram of so many (views, detectors) of an image (H, W); None for k-space.

    name: `fourier`; or `radon`, and after it the degrees over which the views are evenly spread (180 unless
        said, negative where they turn the other way), or an .npy file with the degrees of each. Raises
        UserError, in a sentence, for a name that is none, or angles that are not one for each view.
    """
    kind, *words = name.split(maxsplit=1)
    need(
        kind in ("fourier", "radon") and not (kind == "fourier" and words),
        f"there is no scan {name!r}: give fourier, radon, 'radon DEGREES' or 'radon FILE'",
    )
    if kind == "fourier":
        return None
    word, (views, detectors) = (words or ["180"])[0], measured
    from headwater.data.arrays import read_npy

    try:
        angles = torch.arange(views, dtype=torch.float64) * (float(word) / views)
    except ValueError:
        angles = torch.from_numpy(read_npy(Path(word)).astype(np.float64))
        fits = angles.shape == (views,)
        need(
            fits,
            f"{word} holds angles {tuple(angles.shape)}, the sinogram has {views} views: give one for each",
        )
    return Radon(torch.deg2rad(angles), size, iterations=20, width=detectors)


def _factor(shape: Shape, word: str) -> int:
    factor = int(word)
    need(
        factor >= 1 and all(n % factor == 0 for n in shape[1:]),
        f"pictures of {shape[1]} x {shape[2]} cannot be made {word} times smaller: give a divisor of both",
    )
    return factor


def _grey(shape: Shape) -> Spectral:
    need(shape[0] == 3, "the prior's pictures are grey already: `grey` wants a prior of colour pictures")
    return Grey()


def _jpeg(quality: str) -> JPEG:
    need(1 <= int(quality) <= 100, f"a JPEG quality of {quality} cannot be: give a number from 1 to 100")
    return JPEG(int(quality))


def _phases(padding: str) -> PhaseRetrieval:
    share = float(padding)
    need(0 <= share <= 4, f"a padding of {padding} of a side cannot be: give a share from 0 to 4")
    return PhaseRetrieval(share)


def _sensing(shape: Shape, share: str, seed: str = "0") -> Spectral:
    size, part = shape[1:], float(share)
    whole = all(n & (n - 1) == 0 for n in size)
    need(whole, f"compressed sensing wants sides that are powers of 2, not {size[0]} x {size[1]}")
    need(0 < part <= 1, f"a share of {share} coefficients cannot be measured: give one above 0, at most 1")
    return WalshHadamard.random(part, size, int(seed))


def gaussian(sigma: float) -> Tensor:
    """A Gaussian (K,) float64 that sums to 1, cut off at three standard deviations."""
    reach = max(1, round(3 * sigma))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma) ** 2)
    return weights / weights.sum()


def motion(length: float, angle: float) -> Tensor:
    """A line through the middle (K, K) float64 that sums to 1; angle in degrees, from the right upwards."""
    reach = max(1, round(length / 2))
    turn = torch.deg2rad(torch.tensor(angle, dtype=torch.float64))
    along = torch.linspace(-(length - 1) / 2, (length - 1) / 2, 16 * reach + 1, dtype=torch.float64)
    rows, columns = reach - along * turn.sin(), reach + along * turn.cos()
    found = torch.zeros(2 * reach + 1, 2 * reach + 1, dtype=torch.float64)
    # Points of the line share their weight among the four pixels around them.
    for r, c in zip(rows.tolist(), columns.tolist(), strict=True):
        i, j = min(int(r), 2 * reach - 1), min(int(c), 2 * reach - 1)
        down, right = r - i, c - j
        found[i, j] += (1 - down) * (1 - right)
        found[i + 1, j] += down * (1 - right)
        found[i, j + 1] += (1 - down) * right
        found[i + 1, j + 1] += down * right
    return found / found.sum()


def _blur(shape: Shape, file: str) -> Spectral:
    from headwater.data.pictures import FORMATS, opened

    with opened(Path(file), FORMATS) as picture:
        kernel = torch.from_numpy(np.asarray(picture.convert("L"), np.float64))
    odd = all(n % 2 for n in kernel.shape)
    need(odd, f"{file} is {tuple(kernel.shape)} pixels: a kernel has a middle, so give it odd sides")
    need(float(kernel.sum()) > 0, f"{file} is black: a kernel has some weight")
    return Circular(kernel / kernel.sum(), shape[1:])


_MAKERS: dict[str, Callable[..., Measurement]] = {
    "block-average": lambda shape, word: BlockAverage(_factor(shape, word)),
    "bicubic": lambda shape, word: Separable.bicubic(_factor(shape, word), shape[1:]),
    "grey": _grey,
    "compressed-sensing": _sensing,
    "gaussian-blur": lambda shape, sigma: Circular(
        torch.outer(gaussian(float(sigma)), gaussian(float(sigma))), shape[1:]
    ),
    "motion-blur": lambda shape, length, angle: Circular(motion(float(length), float(angle)), shape[1:]),
    "blur": _blur,
    "jpeg": lambda shape, quality: _jpeg(quality),
    "overexposed": lambda shape, gain: Overexposed(float(gain)),
    "phase-retrieval": lambda shape, padding="0.5": _phases(padding),
}
