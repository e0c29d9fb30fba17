"""Measurements that are not linear, but that gradients go through: for DPS."""

# torch.fft has no annotations.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from headwater.operators.linear import Measurement
from headwater.operators.spectral import cosines


@dataclass(frozen=True)
class Overexposed(Measurement):
    """Values `gain` times as bright above black, cut off at white: images in [-1, 1] to the same."""

    gain: float = 2.0

    def forward(self, x: Tensor) -> Tensor:
        return ((x + 1) * self.gain - 1).clamp(max=1)


@dataclass(frozen=True)
class PhaseRetrieval(Measurement):
    """The magnitudes of the Fourier transform of an image with black around it, (B, C, H, W) to
    (B, C, H + 2 P, W + 2 P), orthonormal.

    An image that is turned by half a turn has the same magnitudes, and so has one that is moved, where only
    black leaves the frame: see `aligned`. Colours are measured each on their own.

    padding: P as a share of a side; 1 / 2 doubles both sides, as phase retrieval needs (Chung et al. 2023).
    """

    picture: ClassVar[bool] = False

    padding: float = 0.5

    def padded(self, x: Tensor) -> Tensor:
        """Images with black, which is 0 here, around them."""
        rows, columns = (round(n * self.padding) for n in x.shape[-2:])
        return F.pad(x + 1, (columns, columns, rows, rows))

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.fft2(self.padded(x), norm="ortho")
        return (spectrum.real.square() + spectrum.imag.square() + 1e-12).sqrt()

    def aligned(self, x: Tensor, truth: Tensor) -> Tensor:
        """x, or x turned by half a turn, moved so that it is nearest to the truth; black comes in where it
        leaves the frame, and all colours turn and move alike."""
        height, width = x.shape[-2:]
        wanted = torch.fft.fft2(self.padded(truth.to(x)))
        found, error = x, torch.full((len(x),), torch.inf, device=x.device, dtype=x.dtype)
        for turned in (x, x.flip(-2, -1)):
            padded = self.padded(turned)
            likeness = torch.fft.ifft2(wanted * torch.fft.fft2(padded).conj()).real.sum(1)
            best = likeness.flatten(1).argmax(1).tolist()
            rows, columns = (p - n for p, n in zip(padded.shape[-2:], (height, width), strict=True))
            moved = torch.stack([
                one.roll(divmod(at, padded.shape[-1]), (-2, -1))
                [..., rows // 2 : rows // 2 + height, columns // 2 : columns // 2 + width]
                for one, at in zip(padded, best, strict=True)
            ]) - 1  # fmt: skip
            for image in (turned, moved):
                off = (image - truth.to(x)).square().flatten(1).mean(1)
                found = torch.where((off < error)[:, None, None, None], image, found)
                error = torch.minimum(error, off)
        return found


@dataclass(frozen=True)
class JPEG(Measurement):
    """JPEG compression that keeps the colours in full, made differentiable: images in [-1, 1] to the same.

    quality: from 1 to 100. Rounding counts as no change for the gradient (a straight-through estimate), and
    values are not cut off. The tables are those that Pillow's encoder uses; `real` is the real thing.
    """

    quality: int

    @cached_property
    def _tables(self) -> tuple[Tensor, Tensor]:
        """What the 8 x 8 frequencies of brightness and of colour are rounded to."""
        with Image.open(io.BytesIO(_encoded(np.zeros((8, 8, 3), np.uint8), self.quality))) as picture:
            found = picture.quantization  # pyright: ignore[reportAttributeAccessIssue]
        brightness, colour = (torch.tensor(found[i], dtype=torch.float64).view(8, 8) for i in (0, 1))
        return brightness, colour

    def forward(self, x: Tensor) -> Tensor:
        pixels, grey = (x + 1) * 127.5, x.shape[1] == 1
        planes = pixels - 128 if grey else torch.einsum("kc,bchw->bkhw", _YCC.to(x), pixels)
        if not grey:
            planes = planes - torch.tensor([128.0, 0.0, 0.0], device=x.device, dtype=x.dtype).view(3, 1, 1)
        height, width = x.shape[-2:]
        padded = F.pad(planes, (0, -width % 8, 0, -height % 8), mode="replicate")
        blocks = padded.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-3, -2)
        d = cosines(8).to(x)
        tables = torch.stack([self._tables[i > 0] for i in range(x.shape[1])])[:, None, None].to(x)
        steps = (d @ blocks @ d.T) / tables
        rounded = (steps + (steps.round() - steps).detach()) * tables
        blocks = (d.T @ rounded @ d).transpose(-3, -2)
        planes = blocks.flatten(-2).flatten(-3, -2)[..., :height, :width]
        if grey:
            return (planes + 128) / 127.5 - 1
        planes = planes + torch.tensor([128.0, 0.0, 0.0], device=x.device, dtype=x.dtype).view(3, 1, 1)
        return torch.einsum("ck,bkhw->bchw", torch.linalg.inv(_YCC).to(x), planes) / 127.5 - 1

    def real(self, x: Tensor) -> Tensor:
        """What Pillow makes of pictures (B, C, H, W) in [-1, 1], written and read again."""
        return torch.stack([self._one(picture) for picture in x])

    def _one(self, picture: Tensor) -> Tensor:
        pixels = ((picture.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
        with Image.open(io.BytesIO(_encoded(pixels, self.quality))) as found:
            read = torch.from_numpy(np.array(found))
        read = read[None] if read.ndim == 2 else read.permute(2, 0, 1)
        return read.to(picture) / 127.5 - 1


_YCC = torch.tensor(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], dtype=torch.float64
)
"""Brightness and two colours of red, green and blue (JFIF)."""


def _encoded(pixels: np.ndarray, quality: int) -> bytes:
    """A JPEG file of uint8 pixels (H, W, 1 or 3), colours in full."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()
