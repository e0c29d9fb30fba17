from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from headwater.errors import UserError
from headwater.metrics.image import (
    border_continuity,
    hole_error,
    hole_scores,
    magnitude_scores,
    mse,
    psnr,
    ssim,
)


def _pair(channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    truth = torch.rand(3, channels, 19, 26, generator=g) * 2 - 1
    return (truth + 0.3 * torch.randn(truth.shape, generator=g)).clamp(-1, 1), truth


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("peak", [1.0, 2.0])
def test_ssim_is_that_of_scikit_image(channels: int, peak: float) -> None:
    image, truth = _pair(channels)
    expected = [
        structural_similarity(
            b.double().numpy(),
            a.double().numpy(),
            data_range=peak,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(image, truth, strict=True)
    ]
    np.testing.assert_allclose(ssim(image, truth, peak), expected, atol=1e-10)


def test_psnr_is_that_of_scikit_image() -> None:
    image, truth = _pair(3)
    expected = [
        peak_signal_noise_ratio(b.double().numpy(), a.double().numpy(), data_range=2.0)
        for a, b in zip(image, truth, strict=True)
    ]
    np.testing.assert_allclose(psnr(image, truth), expected, rtol=1e-12)


def test_equal_images_are_perfect() -> None:
    image, _ = _pair(1)
    assert mse(image, image).tolist() == [0.0] * 3
    assert psnr(image, image).isinf().all()
    torch.testing.assert_close(ssim(image, image), torch.ones(3, dtype=torch.float64))


def test_hole_error_is_that_of_the_hole_alone() -> None:
    known = torch.tensor([True, False]).view(1, 1, 1, 2)
    image, truth = torch.tensor([[9.0, 3.0], [0.0, 1.0]]).view(2, 1, 1, 2), torch.zeros(2, 1, 1, 2)
    assert hole_error(image, truth, known).tolist() == [9.0, 1.0]


def test_border_continuity_counts_only_pairs_across_the_edge() -> None:
    truth = torch.zeros(1, 1, 6, 6)
    image = truth.clone()
    image[..., :, 3:] = 0.5
    known = torch.ones(1, 1, 6, 6, dtype=torch.bool)
    known[..., :, 3:] = False
    # Every pair across the vertical edge differs by 0.5; steps inside either part do not count.
    image[..., 0, 0] = -1
    image[..., 5, 5] = 1
    assert border_continuity(image, truth, known).item() == pytest.approx(0.5)
    assert border_continuity(truth, truth, known).item() == 0.0
    assert border_continuity(truth, truth, torch.ones_like(known)).isnan().all()


@pytest.mark.parametrize("sideways", [False, True])
def test_border_continuity_sees_both_directions(sideways: bool) -> None:
    known = torch.ones(1, 1, 6, 6, dtype=torch.bool)
    known[..., 3:, :] = False
    image = torch.zeros(2, 3, 6, 6)
    image[1, :, 3:] = 0.25
    if sideways:
        known, image = known.mT, image.mT
    found = border_continuity(image, torch.zeros_like(image), known)
    assert found.tolist() == pytest.approx([0.0, 0.25])


def test_what_does_not_fit_is_refused() -> None:
    a = torch.zeros(1, 1, 8, 8)
    with pytest.raises(ValueError, match="at least 11"):
        ssim(a, a)
    with pytest.raises(ValueError, match="one shape"):
        mse(a, a[..., 1:])
    with pytest.raises(ValueError, match="bool mask"):
        border_continuity(a, a, a)


def test_hole_scores_pool_the_pixels_of_all_holes() -> None:
    truth = torch.zeros(2, 1, 4, 4)
    known = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    known[0, :, 0, 0] = False
    known[1, :, :, :3] = False
    filled = truth.clone()
    filled[0, :, 0, 0] = 2
    scores = hole_scores(filled, truth, known)
    assert scores["hole_mse"] == pytest.approx(4 / 13)  # by pixel: a mean of the images' errors would be 2
    assert scores["psnr"] == float("inf")  # the second image is the truth
    assert scores["seam"] == pytest.approx(1.0)  # steps of 2 at the one, of 0 at the other


def test_hole_scores_see_the_hole_alone_and_its_seam() -> None:
    truth = torch.zeros(1, 1, 8, 8)
    known = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    known[..., 4:] = False
    assert hole_scores(truth, truth, known)["seam"] == 0
    found = hole_scores(truth.where(known, torch.ones(())), truth, known)
    assert (found["seam"], found["hole_mse"]) == (pytest.approx(1.0), pytest.approx(1.0))
    assert hole_scores(truth.where(~known, torch.ones(())), truth, known)["hole_mse"] == 0


def test_magnitudes_have_the_peak_of_their_truth() -> None:
    truth = [torch.rand(16, 16, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    off = [t + 0.1 * float(t.max()) for t in truth]
    assert magnitude_scores(off, truth)["psnr"] == pytest.approx(20, abs=1e-3)
    assert magnitude_scores(truth, truth)["ssim"] == pytest.approx(1)
    with pytest.raises(UserError, match="pairs"):
        magnitude_scores(off[:1], truth)
