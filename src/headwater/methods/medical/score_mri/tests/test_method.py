"""Score-MRI's own laws: units, what was measured, mistakes in a sentence; and the parts of its claim."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from contract.specimens import exact_prior
from headwater.errors import UserError
from headwater.methods.medical.score_mri.method import ScoreMRI
from headwater.methods.medical.shared.claim_baseline import reconstruct_by_tv
from headwater.methods.medical.shared.reconstructs import Reconstruction
from headwater.methods.medical.shared.scan import Scan
from headwater.methods.medical.shared.simulated import CASES, acquire, zero_filled
from headwater.models import Prior, PriorConfig, ProcessConfig
from headwater.nets.ncsnpp import NCSNpp, NCSNppConfig
from headwater.operators import Fourier
from headwater.operators.acquisition import acceleration, sampling, simulated_coils, simulated_phase
from headwater.operators.calibration import coil_maps
from headwater.sampling import Run

SIDE = 12
QUICK = ScoreMRI(steps=6, samples=2, brightness=0.5)
RUN = Run(seed=1, batch_size=8, progress=False)


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

    def values(found: Reconstruction) -> Tensor:
        return torch.stack([torch.stack(list(v)) for v in (found.magnitude, found.uncertainty)])

    # A power of 2: the phase of pixels without signal is rounding, and this leaves rounding alone.
    one, eight = (values(method.apply(prior, list(k), **RUN)) for k in (y, 8 * y))
    alone = values(method.apply(prior, list(y), **replace(RUN, batch_size=1)))
    assert (one.shape, one.dtype) == ((2, 2, SIDE, SIDE), torch.float32)
    torch.testing.assert_close(8 * one, eight, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(one, alone, rtol=1e-4, atol=1e-5)
    assert (one[1].flatten(1).amax(1) > 0).all()


def test_more_samples_begin_with_the_same(prior: Prior) -> None:
    y, _ = kspace(1, coils=1)
    scan = Scan.of(y, y != 0, "sense", "phased")
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


def test_coil_maps_of_ones_own_are_taken_and_only_their_ratio_counts(prior: Prior) -> None:
    y, mask = kspace(2)
    estimated = QUICK.apply(prior, list(y), mask, **RUN)
    theirs = coil_maps(y, mask)
    scale = 1 + 3 * torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    given = QUICK.apply(prior, list(y), mask, list(theirs * scale), **RUN)
    torch.testing.assert_close(given.samples, estimated.samples, rtol=1e-4, atol=1e-4)
    # The maps that it was measured with explain it, those of another scanner do not.
    true, other = simulated_coils(2, 4, SIDE, SIDE, 4), simulated_coils(2, 4, SIDE, SIDE, 9)
    full = Fourier("centred").forward(true + 0j)
    misfit = []
    for maps in (true, other):
        a = Scan.of(full, full != 0, "sense", "complex", maps).operator(0.0)
        misfit.append(float((a.forward(a.pseudo_inverse(full)) - full).abs().square().sum()))
    assert misfit[0] < 0.01 * misfit[1]


@pytest.mark.parametrize(("coils", "combine"), [(1, "sense"), (3, "ssos")])
def test_the_complex_image_has_the_phase_that_was_measured(prior: Prior, coils: int, combine: Any) -> None:
    """All of k-space measured leaves nothing to the prior: samples and image are the inverse transform."""
    y, mask = kspace(2, coils)
    full = y + (~mask) * 1e-3
    whole = Fourier("centred").pseudo_inverse(full)
    found = replace(QUICK, combine=combine).apply(prior, list(full), **RUN)
    wanted = whole[:, 0] if coils == 1 else whole
    assert found.samples[0].shape == (2, *wanted.shape[1:])
    torch.testing.assert_close(torch.stack(list(found.image)), wanted, rtol=1e-4, atol=1e-4)
    for k in (0, 1):
        torch.testing.assert_close(found.samples[1][k], wanted[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.magnitude[0], zero_filled(full)[0, 0], rtol=1e-4, atol=1e-4)


Y = kspace(1)[0][0]
THIN = (torch.arange(SIDE) == SIDE // 2).expand(1, 1, SIDE, SIDE)


@pytest.mark.parametrize(
    ("words", "how", "data", "mask"),
    [
        ("too few for 12", {}, [Y[:, :8]], None),
        ("nothing measured", {}, [torch.zeros_like(Y)], None),
        ("k-space is", {}, [Y.real], None),
        ("coils", {}, [Y, Y[:2]], None),
        ("mask", {}, [Y], torch.ones(1, 1, 4, 4, dtype=torch.bool)),
        ("too small for coil maps", {}, [Y], THIN),
        ("phased", {"image": "real"}, [Y], None),
        ("1000 timesteps", {"steps": 1001}, [Y], None),
        ("1 sample", {"samples": 0}, [Y], None),
        ("highest higher", {"highest": 1e-6}, [Y], None),
    ],
)
def test_mistakes_are_a_sentence(prior: Prior, words: str, how: Any, data: Any, mask: Any) -> None:
    with pytest.raises(UserError, match=words):
        replace(QUICK, **how).apply(prior, data, mask, **RUN)


@pytest.mark.parametrize(
    ("words", "how", "maps"),
    [
        ("of the size", {}, [Y[:2]]),
        ("give 1 or 1", {}, [Y, Y]),
        ("not finite", {}, [Y * torch.nan]),
        ("0 everywhere", {}, [Y * 0]),
        ("need no maps", {"combine": "ssos"}, [Y]),
    ],
)
def test_mistakes_with_maps_are_a_sentence(prior: Prior, words: str, how: Any, maps: Any) -> None:
    with pytest.raises(UserError, match=words):
        replace(QUICK, **how).apply(prior, [Y], None, maps, **RUN)


@pytest.mark.parametrize("case", CASES)
def test_scans_belong_to_their_split_and_slice(case: Any) -> None:
    truth = torch.rand(2, 1, 16, 16)
    scan, mask = acquire(case, truth, "test", [3, 4], "gaussian1d", 0)
    assert torch.equal(scan[1:], acquire(case, truth[1:], "test", [4], "gaussian1d", 0)[0])
    assert not torch.equal(scan, acquire(case, truth, "train", [3, 4], "gaussian1d", 0)[0])
    assert acceleration(mask).mean() == pytest.approx(4)
    assert scan.shape[1] == (4 if case == "coils" else 1)


def test_total_variation_removes_noise_and_keeps_edges() -> None:
    truth = torch.zeros(2, 1, 16, 16)
    truth[..., 4:12, 5:11] = 0.7
    scan = acquire("coils", truth, "test", [3, 4], "gaussian2d", 0)
    better = (reconstruct_by_tv("coils", *scan, 1e-3) - truth).square().mean()
    assert better < (zero_filled(scan[0]) - truth).square().mean()
