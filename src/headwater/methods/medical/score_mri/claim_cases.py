"""Scans for the claim of Score-MRI: what is measured of a head, and what zero filling and TV make of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from headwater.baselines.total_variation import total_variation
from headwater.data import load
from headwater.methods.medical.score_mri.measured import measured, operator
from headwater.methods.medical.shared.coils import simulated_coils, simulated_phase, sum_of_squares
from headwater.methods.medical.shared.masks import Family, acceleration, sampling
from headwater.metrics.image import psnr
from headwater.noise import derive
from headwater.operators import Fourier, OfReal

Case = Literal["real", "complex", "coils"]
CASES: tuple[Case, ...] = ("real", "complex", "coils")

_OWNED = {"train": 4_001, "test": 4_002}
"""Seeds of phases and coils: each split of the heads has its own."""
_WEIGHTS = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
ACCELERATION, CENTRE = 4.0, 0.2
COILS = 4


@dataclass(frozen=True, eq=False)
class Scan:
    """n slices: magnitudes (n, 1, H, W) in [0, 1], measured k-space (n, C, H, W), masks bool (n, 1, H, W)."""

    truth: Tensor
    kspace: Tensor
    mask: Tensor

    @property
    def acceleration(self) -> float:
        """Points of k-space per measured one, over all slices."""
        return float(acceleration(self.mask).mean())


def scan(case: Case, truth: Tensor, split: str, numbers: list[int], family: Family, seed: int) -> Scan:
    """Measure slices of a split. Phase and coils depend on (split, number), masks on the seed too."""
    height, width = truth.shape[-2:]
    image = truth + 0j
    keys = [derive(_OWNED[split], number) for number in numbers]
    if case != "real":
        image = image * torch.cat([simulated_phase(1, height, width, key) for key in keys])
    if case == "coils":
        image = image * torch.cat([simulated_coils(1, COILS, height, width, key + 1) for key in keys])
    seeds = [derive(_OWNED[split], number, seed) for number in numbers]
    mask = torch.cat([sampling(family, 1, height, width, ACCELERATION, CENTRE, s) for s in seeds])
    return Scan(truth, Fourier("centred").forward(image) * mask, mask)


def zero_filled(data: Scan) -> Tensor:
    """Root of the sum of squares over coils of the inverse transform, (n, 1, H, W)."""
    return sum_of_squares(Fourier("centred").pseudo_inverse(data.kspace))


def reconstruct_by_tv(case: Case, data: Scan, weight: float) -> Tensor:
    """Total variation with the same measurement operator as Score-MRI's, (n, 1, H, W)."""
    a = operator(measured(data.kspace, data.mask, "sense", case != "real"), damping=0.0)
    a = OfReal(a) if case == "real" else a
    return total_variation(a, data.kspace, weight).abs()


def tv_weights(side: int) -> dict[Case, float]:
    """The best of five weights for each case, in PSNR on eight slices of the training head."""
    head = load("brain", "train", side)
    rows = torch.linspace(8, len(head) - 9, 8).long()
    best: dict[Case, float] = {}
    for case in CASES:
        data = scan(case, (head.images[rows] + 1) / 2, "train", rows.tolist(), "gaussian1d", 0)
        quality = {w: float(psnr(reconstruct_by_tv(case, data, w), data.truth, 1.0).mean()) for w in _WEIGHTS}
        best[case] = max(quality, key=lambda w: quality[w])
    return best
