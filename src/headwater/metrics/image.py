"""Full-reference image quality, one value per image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.errors import need


def mse(image: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error (B,) of images (B,...) of one shape. Raises ValueError otherwise."""
    _same_shape(image, truth)
    return (image.double() - truth.double()).square().flatten(1).mean(1)


def psnr(image: Tensor, truth: Tensor, peak: float = 2.0) -> Tensor:
    """Peak signal-to-noise ratio (B,) in dB; infinite for equal images.

    `peak` is the width of the value range: 2 for images in [-1, 1], 1 for [0, 1].
    """
    return 10 * torch.log10(peak**2 / mse(image, truth))


def ssim(image: Tensor, truth: Tensor, peak: float = 2.0) -> Tensor:
    """Structural similarity (B,) of images (B,C,H,W), averaged over channels and pixels.

    Gaussian window of 11 pixels with sigma 1.5, K1 = 0.01, K2 = 0.03, no padding (Wang et al. 2004,
    "Image quality assessment: from error visibility to structural similarity", section III.B).
    `peak` as in `psnr`. Raises ValueError for images smaller than the window.
    """
    _same_shape(image, truth)
    if image.ndim != 4 or min(image.shape[-2:]) < 11:
        raise ValueError("Give ssim images (B,C,H,W) of at least 11 x 11 pixels.")
    x, y = (t.double().flatten(0, 1)[:, None] for t in (image, truth))
    at = torch.arange(11, dtype=torch.float64, device=x.device) - 5
    window = torch.exp(-at.square() / (2 * 1.5**2))
    window = window / window.sum()

    def local(t: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(t, window.view(1, 1, 11, 1)), window.view(1, 1, 1, 11))

    mean_x, mean_y = local(x), local(y)
    var_x, var_y = local(x * x) - mean_x**2, local(y * y) - mean_y**2
    covariance = local(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    quality = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    quality = quality / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return quality.view(image.shape[0], -1).mean(1)


def hole_error(image: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Mean squared error (B,) over the hole of images (B,C,H,W), where `known` (B|1,1,H,W) is False."""
    hole = (~known).expand_as(truth)
    return ((image - truth).square() * hole).flatten(1).sum(1) / hole.flatten(1).sum(1)


def hole_scores(filled: Tensor, truth: Tensor, known: Tensor) -> dict[str, float]:
    """How far filled images (B,C,H,W) are from the truth, and how visible the edge of the hole is.

    hole_mse: mean squared error over all holes (`known` False), in the images' own units. psnr: of whole
    images, in dB. seam: mean of `border_continuity`; 0 is seamless.
    """
    hole = (~known).expand_as(truth)
    return {
        "hole_mse": float((filled - truth)[hole].square().mean()),
        "psnr": float(psnr(filled, truth).mean()),
        "seam": float(border_continuity(filled, truth, known).mean()),
    }


def magnitude_scores(found: Sequence[Tensor], truth: Sequence[Tensor]) -> dict[str, float]:
    """psnr (dB) and ssim of pictures (H, W) or volumes (slices, H, W) of any sizes, means over them; the peak
    is each truth's maximum.

    Raises UserError unless they are pairs of one shape.
    """
    need(len(found) == len(truth), f"{len(found)} pictures, {len(truth)} truths: give pairs")
    scores = []
    for ours, real in zip(found, truth, strict=True):
        need(ours.shape == real.shape, f"{tuple(ours.shape)} has a truth {tuple(real.shape)}: give pairs")
        a, b = (v.reshape(-1, 1, *v.shape[-2:]) for v in (ours, real))
        peak = float(real.max())
        scores.append((float(psnr(a, b, peak).mean()), float(ssim(a, b, peak).mean())))
    mean = torch.tensor(scores, dtype=torch.float64).mean(0)
    return {"psnr": float(mean[0]), "ssim": float(mean[1])}


def border_continuity(image: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Excess seam (B,) of an inpainted image (B,C,H,W) along the edge of its hole.

    The mean absolute difference of neighbouring pixels of which one is known (`known`, bool
    (B|1,1,H,W), True = given) and one is filled, minus the same of `truth`: 0 is seamless, positive
    is a visible seam, negative is too smooth. NaN where the mask has no edge.
    """
    _same_shape(image, truth)
    if known.dtype != torch.bool:
        raise ValueError("Give border_continuity a bool mask that is True where pixels are known.")
    mask = known.expand(image.shape[0], 1, *image.shape[-2:])
    return _seam(image.double(), mask) - _seam(truth.double(), mask)


def _seam(image: Tensor, mask: Tensor) -> Tensor:
    total, count = 0.0, 0.0
    for dim in (-1, -2):
        # xor of neighbours: exactly one of the pair lies in the hole.
        crossing = mask.narrow(dim, 1, mask.shape[dim] - 1) ^ mask.narrow(dim, 0, mask.shape[dim] - 1)
        step = image.diff(dim=dim).abs().mean(1, keepdim=True)
        total = total + (step * crossing).flatten(1).sum(1)
        count = count + crossing.flatten(1).sum(1)
    return total / count  # 0/0 is NaN on purpose: there is no edge to judge


def _same_shape(image: Tensor, truth: Tensor) -> None:
    if image.shape != truth.shape:
        raise ValueError(
            f"Give image and truth one shape, not {tuple(image.shape)} and {tuple(truth.shape)}."
        )
