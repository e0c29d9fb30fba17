"""What the claims of medical imaging are tested on: held-out slices, measured as a scanner would."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from headwater.data import load
from headwater.noise import White, derive
from headwater.operators import Fourier
from headwater.operators.acquisition import Family, sampling, simulated_coils, simulated_phase
from headwater.operators.calibration import sum_of_squares

Case = Literal["real", "complex", "coils"]
CASES: tuple[Case, ...] = get_args(Case)
COILS = 4
_SEEDS = {"train": 4_001, "test": 4_002}
"""Seeds of phases and coils: each split of the heads has its own."""


def slices(split: str, side: int, n: int) -> tuple[Tensor, list[int]]:
    """Magnitudes (n, 1, side, side) in [0, 1], evenly over the head of a split, and their numbers in it."""
    head = load("brain", split, side)
    rows = torch.linspace(8, len(head) - 9, n).long()
    return (head.images[rows] + 1) / 2, rows.tolist()


def acquire(
    case: Case,
    truth: Tensor,
    split: str,
    numbers: list[int],
    family: Family,
    seed: int,
    accelerate: float = 4.0,
    centre: float = 0.2,
    noise: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Measure slices (n, 1, H, W) of a split: k-space (n, C, H, W) and masks bool (n, 1, H, W).

    noise: standard deviation of that of each part of k-space. Phase and coils depend on (split, number),
    masks and noise on the seed too.
    """
    height, width = truth.shape[-2:]
    image = truth + 0j
    keys = [derive(_SEEDS[split], number) for number in numbers]
    if case != "real":
        image = image * torch.cat([simulated_phase(1, height, width, key) for key in keys])
    if case == "coils":
        image = image * torch.cat([simulated_coils(1, COILS, height, width, key + 1) for key in keys])
    seeds = [derive(_SEEDS[split], number, seed) for number in numbers]
    mask = torch.cat([sampling(family, 1, height, width, accelerate, centre, s) for s in seeds])
    y = Fourier("centred").forward(image)
    if noise:
        draws = White().stream([derive(s, 1) for s in seeds])
        y = y + noise * draws(y)
    return y * mask, mask


def zero_filled(kspace: Tensor) -> Tensor:
    """Root of the sum of squares over coils of the inverse transform, (n, 1, H, W)."""
    return sum_of_squares(Fourier("centred").pseudo_inverse(kspace))
