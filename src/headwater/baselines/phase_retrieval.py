"""Phase retrieval without a prior: by turns the measured magnitudes and what is known of the image."""

# torch.fft has no annotations.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import torch
from torch import Tensor

from headwater.noise import derive
from headwater.operators import PhaseRetrieval


def hybrid_input_output(
    y: Tensor, size: tuple[int, int], seed: int, starts: int = 4, iterations: int = 500, beta: float = 0.9
) -> Tensor:
    """Images (B, C, H, W) in [-1, 1] whose magnitudes are about y (B, C, H + 2 P, W + 2 P), as
    `operators.PhaseRetrieval` measures them: hybrid input-output (Fienup 1982), and error reduction for the
    last tenth.

    Known are the frame, with black around it, and that no value lies beyond black or white. Of so many random
    starts the image that explains y best is returned, for each row.
    """
    (height, width), (rows, columns) = size, y.shape[-2:]
    top, left = (rows - height) // 2, (columns - width) // 2
    a = PhaseRetrieval(top / height)
    inside = torch.zeros(rows, columns, dtype=torch.bool, device=y.device)
    inside[top : top + height, left : left + width] = True
    found, error = y.new_zeros(*y.shape[:2], *size), torch.full((len(y),), torch.inf, device=y.device)
    for start in range(starts):
        draws = torch.Generator().manual_seed(derive(seed, start))
        x = 2 * torch.rand(y.shape, generator=draws).to(y) * inside
        for i in range(iterations):
            spectrum = torch.fft.fft2(x, norm="ortho")
            explains = spectrum * (y / spectrum.abs().clamp(min=1e-9))
            moved = torch.fft.ifft2(explains, norm="ortho").real
            allowed = inside & (moved >= 0) & (moved <= 2)
            other = x - beta * moved if i < 0.9 * iterations else moved.clamp(0, 2) * inside
            x = moved.where(allowed, other)
        image = x[..., top : top + height, left : left + width].clamp(0, 2) - 1
        off = a.residual(image, y)
        better = off < error
        found = torch.where(better[:, None, None, None], image, found)
        error = torch.minimum(error, off)
    return found
