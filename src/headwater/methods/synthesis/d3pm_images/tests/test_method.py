"""D3PM on images: chains learn, what is known stays, the bound falls; errors say what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from contract.specimens import tiny
from headwater.discrete.information import removed
from headwater.errors import UserError
from headwater.methods.synthesis.d3pm_images import claim
from headwater.methods.synthesis.d3pm_images.method import D3PMImages, FittedD3PMImages
from headwater.nets.categorical_unet import centred, quantised
from headwater.sampling import Run
from headwater.training import TrainerConfig

QUIET = Run(0, progress=False)
METHOD: D3PMImages = tiny("d3pm-images")
VALUES = {-1.0, -0.5, 0.0, 0.5, 1.0}
DATA = centred(torch.randint(5, (12, 1, 8, 8), generator=torch.Generator().manual_seed(0)), 5)


@pytest.fixture(scope="module")
def fitted() -> FittedD3PMImages:
    return METHOD.fit(DATA, **QUIET)


@pytest.mark.parametrize(
    ("chain", "head"), [("gaussian", "logistic"), ("uniform", "logits"), ("absorbing", "logits")]
)
def test_every_chain_learns_draws_and_completes(chain: str, head: str) -> None:
    method = replace(METHOD, chain=chain, head=head)  # pyright: ignore[reportArgumentType]
    fitted = method.fit(DATA, **QUIET)
    drawn = method.sample(3, fitted, **QUIET)
    assert drawn.shape == (3, 1, 8, 8)
    assert set(drawn.unique().tolist()) <= VALUES
    known = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    known[..., 4:] = False
    done = method.apply(DATA, fitted, known, **QUIET)
    assert torch.equal(done.completed[..., :4], DATA[..., :4])
    assert not torch.equal(done.completed, DATA)
    again = method.apply(DATA, fitted, known, **replace(QUIET, batch_size=5))
    assert torch.equal(again.completed, done.completed)
    blank = method.apply(DATA[:3], fitted, torch.zeros_like(known), **QUIET)
    assert torch.equal(blank.completed, drawn)


@pytest.mark.parametrize("chain", ["gaussian", "uniform", "absorbing"])
def test_a_chain_that_forgets_evenly_is_kept_with_what_was_fitted(chain: str, tmp_path: Path) -> None:
    method = replace(METHOD, chain=chain, schedule="information")  # pyright: ignore[reportArgumentType]
    fitted = method.fit(DATA, **QUIET)
    fitted.save_pretrained(tmp_path / "fitted")
    again = FittedD3PMImages.from_pretrained(tmp_path / "fitted")
    shares = torch.bincount(quantised(DATA, 5).flatten(), minlength=5).double() / DATA.numel()
    for t in (1, METHOD.T // 2):
        reached = again.process.forward(torch.eye(5, dtype=torch.float64), 0, t)
        assert float(removed(shares, reached)) == pytest.approx(t / METHOD.T, abs=1e-3)
    with pytest.raises(UserError, match="one value only"):
        method.fit(torch.ones_like(DATA), **QUIET)


def test_without_a_mask_images_are_measured_and_nothing_is_drawn(fitted: FittedD3PMImages) -> None:
    done = METHOD.apply(DATA, fitted, **QUIET)
    assert torch.equal(done.completed, DATA)
    assert (done.bits > 0.5).all()
    numbers = METHOD.evaluate(done.bits)
    assert numbers["low"] <= numbers["bits_per_dimension"] <= numbers["high"]
    assert numbers["bits_per_dimension"] == pytest.approx(float(done.bits.mean()))


def test_training_lowers_the_bits() -> None:
    stripes = centred(torch.tensor([0, 4]).repeat(4).expand(16, 1, 8, 8), 5)
    method = replace(METHOD, head="logits", training=TrainerConfig(40, 8, lr=3e-3))
    before, after = (
        float(m.apply(stripes, m.fit(stripes, **QUIET), **QUIET).bits.mean())
        for m in (replace(method, training=TrainerConfig(1, 8, lr=1e-9)), method)
    )
    assert after < before - 0.5


def test_what_cannot_be_is_said(fitted: FittedD3PMImages) -> None:
    with pytest.raises(UserError, match="the mask is"):
        METHOD.apply(DATA, fitted, torch.ones(1, 1, 4, 4, dtype=torch.bool), **QUIET)
    for fields, words in (({"steps": 25}, "give a number from 1 to 24"), ({"levels": 0}, "levels is 0")):
        with pytest.raises(UserError, match=words):
            replace(METHOD, **fields).apply(DATA, fitted, **QUIET)
    for fields, words in (({"K": 1}, "raise K"), ({"K": 50_000}, "choose fewer values or timesteps")):
        with pytest.raises(UserError, match=words):
            replace(METHOD, **fields).fit(DATA, **QUIET)
    with pytest.raises(UserError, match="there are no pictures"):
        METHOD.fit(DATA[:0], **QUIET)


def test_arms_of_the_claim_differ_in_the_chain_or_the_head_alone() -> None:
    found = claim.arms(claim.CLAIM.full)
    gaussian = found.pop(claim.GAUSSIAN)
    assert len(found) == 4
    for arm in found.values():
        assert replace(arm, chain=gaussian.chain, head=gaussian.head, schedule="information") == gaussian
        assert arm != gaussian
