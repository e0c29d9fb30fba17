"""Score-MRI's own laws: units, masks, maps, mistakes in a sentence; and the parts of its claim."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from contract.specimens import exact_prior
from headwater.errors import UserError
from headwater.methods.medical.score_mri.acquisition import (
    FAMILIES,
    acceleration,
    sampling,
    simulated_coils,
    simulated_phase,
)
from headwater.methods.medical.score_mri.claim import (
    CASES,
    acquire,
    reconstruct_by_tv,
    total_variation,
    zero_filled,
)
from headwater.methods.medical.score_mri.method import ScoreMRI
from headwater.methods.medical.score_mri.scan import (
    calibration_size,
    low_resolution,
    measured,
    operator,
    sum_of_squares,
)
from headwater.models import Prior, PriorConfig, ProcessConfig
from headwater.nets.ncsnpp import NCSNpp, NCSNppConfig
from headwater.operators import Fourier
from headwater.sampling import Run

SIDE = 12
QUICK = ScoreMRI(steps=6, samples=2, brightness=0.5)
RUN = Run(seed=1, batch_size=8, progress=False)
TRUTH = torch.zeros(2, 1, 16, 16)
TRUTH[..., 4:12, 5:11] = 0.7


@pytest.fixture
def prior() -> Prior:
    return exact_prior((1, SIDE, SIDE))


def kspace(n: int, coils: int = 4) -> tuple[Tensor, Tensor]:
    """Measured k-space (n, coils, H, W) and masks."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIDE), torch.linspace(-1, 1, SIDE), indexing="ij")
    disc = ((y**2 + x**2) < 0.7).float() * (0.6 + 0.3 * y)
    image = disc * simulated_phase(n, SIDE, SIDE, 3)
    maps = simulated_coils(n, coils, SIDE, SIDE, 4) if coils > 1 else torch.ones(n, 1, SIDE, SIDE)
    mask = sampling("gaussian1d", n, SIDE, SIDE, 2, 0.4, seed=5)
    return Fourier("centred").forward(maps * image) * mask, mask


@pytest.mark.parametrize("how", [{}, {"combine": "ssos"}, {"image": "complex"}])
def test_results_are_in_the_units_of_the_scan_whatever_the_batch(prior: Prior, how: dict[str, Any]) -> None:
    y, _ = kspace(2)
    method = replace(QUICK, **how)
    # A power of 2: the phase of pixels without signal is rounding, and this leaves rounding alone.
    one, eight = (method.apply(prior, list(k), **RUN) for k in (y, 8 * y))
    alone = method.apply(prior, list(y), **replace(RUN, batch_size=1))
    for field in ("magnitude", "uncertainty"):
        for ours, larger, other in zip(*(getattr(f, field) for f in (one, eight, alone)), strict=True):
            assert ours.shape == (SIDE, SIDE)
            assert ours.dtype == torch.float32
            torch.testing.assert_close(8 * ours, larger, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-5)
    assert all(u.max() > 0 for u in one.uncertainty)


def test_more_samples_begin_with_the_same(prior: Prior) -> None:
    y, _ = kspace(1, coils=1)
    scan = measured(y, y != 0, "sense", phased=True)
    two, three = (replace(QUICK, samples=k).sample(prior, scan, RUN) for k in (2, 3))
    assert torch.equal(two, three[:, :2])


def test_a_mask_hides_what_was_measured_and_two_dimensions_are_one_coil(prior: Prior) -> None:
    y, mask = kspace(1, coils=1)
    full = y + (~mask) * torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(0))
    method = replace(QUICK, samples=1, brightness=None)  # drawn pictures tell
    by_zeros = method.apply(prior, [y[0, 0]], **RUN)
    by_mask = method.apply(prior, list(full), mask, **RUN)
    assert torch.equal(by_zeros.magnitude[0], by_mask.magnitude[0])
    assert torch.isfinite(by_zeros.magnitude[0]).all()
    assert by_zeros.uncertainty[0].abs().max() == 0


def test_a_ve_prior_of_pictures_in_0_1_is_kept_in_a_folder_and_taken_as_it_is(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = NCSNppConfig(SIDE, 1, 4, (1, 2), 1, (), num_scales=5)
    network = {"kind": "ncsnpp", **asdict(shape)}
    process = ProcessConfig("ve", T=20, low=0.01, high=50.0)
    net = NCSNpp(shape).eval()
    nn.init.normal_(net.all_modules[-1].weight)  # pyright: ignore[reportArgumentType]
    config = PriorConfig(network, (1, SIDE, SIDE), process, predicts="score", clip=False)
    Prior(net, config).save_pretrained(tmp_path / "prior")
    found = QUICK.apply(Prior.from_pretrained(tmp_path / "prior"), list(kspace(1)[0]), **RUN)
    assert torch.isfinite(found.magnitude[0]).all()


def mistakes() -> dict[str, tuple[str, dict[str, Any], list[Tensor], Tensor | None]]:
    y, _ = kspace(1)
    thin = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.bool)
    thin[..., SIDE // 2] = True
    return {
        "size": ("crop", {}, [y[0, :, :8]], None),
        "zeros": ("nothing measured", {}, [torch.zeros_like(y[0])], None),
        "real numbers": ("k-space is", {}, [y[0].real], None),
        "coils": ("coils", {}, [y[0], y[0, :2]], None),
        "mask": ("mask", {}, [y[0]], torch.ones(1, 1, 4, 4, dtype=torch.bool)),
        "centre": ("too small for coil maps", {}, [y[0]], thin),
        "real image": ("phased", {"image": "real"}, [y[0]], None),
        "steps": ("1000 timesteps", {"steps": 1001}, [y[0]], None),
        "samples": ("1 sample", {"samples": 0}, [y[0]], None),
        "highest": ("highest higher", {"highest": 1e-6}, [y[0]], None),
    }


@pytest.mark.parametrize("name", list(mistakes()))
def test_mistakes_are_a_sentence(prior: Prior, name: str) -> None:
    words, how, data, mask = mistakes()[name]
    with pytest.raises(UserError, match=words):
        replace(QUICK, **how).apply(prior, data, mask, **RUN)


def test_evaluate_says_psnr_and_ssim() -> None:
    truth = [torch.rand(16, 16, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    off = [t + 0.1 * float(t.max()) for t in truth]
    assert ScoreMRI().evaluate(off, truth)["psnr"] == pytest.approx(20, abs=1e-3)
    assert ScoreMRI().evaluate(truth, truth)["ssim"] == pytest.approx(1)
    with pytest.raises(UserError, match="pairs"):
        ScoreMRI().evaluate(off[:1], truth)


@pytest.mark.parametrize("family", FAMILIES)
def test_masks_measure_what_they_say(family: Any) -> None:
    masks = sampling(family, 3, 32, 24, 4, 0.2, seed=7)
    torch.testing.assert_close(acceleration(masks), torch.full((3,), 4.0))
    assert torch.equal(masks[:2], sampling(family, 2, 32, 24, 4, 0.2, seed=7))
    assert not torch.equal(masks[0], masks[1])
    rows, columns = calibration_size(masks[0, 0])
    assert columns >= 4
    assert rows == 32 if family.endswith("1d") else rows >= 6
    with pytest.raises(UserError, match="smaller centre"):
        sampling(family, 1, 32, 24, 4, 0.9)


def test_calibration_reads_the_centre_alone() -> None:
    y, mask = kspace(2)
    rows, columns = calibration_size(mask[0, 0])
    inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    top, left = SIDE // 2 - rows // 2, SIDE // 2 - columns // 2
    inside[top : top + rows, left : left + columns] = True
    assert torch.equal(low_resolution(y[:1], mask[:1]), low_resolution(y[:1] * inside, mask[:1]))


def test_simulated_coils_are_smooth_and_their_sum_of_squares_is_one() -> None:
    maps = simulated_coils(2, 4, 32, 32, 1)
    torch.testing.assert_close(sum_of_squares(maps), torch.ones(2, 1, 32, 32))
    assert maps.diff(dim=-1).abs().max() < 0.2
    assert torch.equal(maps[:1], simulated_coils(1, 4, 32, 32, 1))


# The claim's own parts


@pytest.mark.parametrize("case", CASES)
def test_scans_belong_to_their_split_and_slice(case: Any) -> None:
    here = acquire(case, TRUTH, "test", [3, 4], "gaussian1d", 0)
    assert torch.equal(here.kspace[1:], acquire(case, TRUTH[1:], "test", [4], "gaussian1d", 0).kspace)
    assert not torch.equal(here.kspace, acquire(case, TRUTH, "train", [3, 4], "gaussian1d", 0).kspace)
    assert here.acceleration == pytest.approx(4)
    assert here.kspace.shape[1] == (4 if case == "coils" else 1)


def test_total_variation_removes_noise_and_keeps_edges() -> None:
    data = acquire("coils", TRUTH, "test", [3, 4], "gaussian2d", 0)
    better = (reconstruct_by_tv("coils", data, 1e-3) - TRUTH).square().mean()
    assert better < (zero_filled(data) - TRUTH).square().mean()
    y, mask = kspace(1)
    a = operator(measured(y, mask, "sense", phased=True), 0.0)
    x, lower = (total_variation(a, y, 1e-2, iterations=n) for n in (300, 600))

    def cost(x: Tensor) -> float:
        steps = torch.stack([x[..., 1:, :-1] - x[..., :-1, :-1], x[..., :-1, 1:] - x[..., :-1, :-1]])
        rough = steps.abs().square().sum(0).sqrt().sum()
        return float((a.forward(x) - y).abs().square().sum() / 2 + 1e-2 * rough)

    assert cost(lower) == pytest.approx(cost(x), rel=1e-2)
    assert cost(x) < 0.9 * cost(a.adjoint(y))
