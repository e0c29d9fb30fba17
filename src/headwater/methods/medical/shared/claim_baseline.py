"""What claims of medical imaging compare with: total variation, its weight the best on other slices."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from headwater.baselines.total_variation import total_variation
from headwater.methods.medical.shared.scan import Scan
from headwater.methods.medical.shared.simulated import Case
from headwater.metrics.image import psnr

WEIGHTS = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


def reconstruct_by_tv(case: Case, kspace: Tensor, mask: Tensor, weight: float) -> Tensor:
    """Total variation with the measurement operator that the methods have, (n, 1, H, W)."""
    scan = Scan.of(kspace, mask, "sense", "real" if case == "real" else "phased")
    return total_variation(scan.operator(damping=0.0), kspace, weight).abs()


def best_weight(
    case: Case, kspace: Tensor, mask: Tensor, truth: Tensor, weights: Sequence[float] = WEIGHTS
) -> float:
    """The weight of the best PSNR on scans of known slices."""
    quality = {w: float(psnr(reconstruct_by_tv(case, kspace, mask, w), truth, 1.0).mean()) for w in weights}
    return max(quality, key=lambda w: quality[w])
