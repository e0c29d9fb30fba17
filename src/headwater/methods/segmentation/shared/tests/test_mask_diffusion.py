"""Masks drawn with a denoiser that knows the posterior must have the posterior's mean and variance; what
trained ones do with classes, soft masks, mirrored images and wrong data.

The denoiser of a finite set of masks is known in closed form, with no training: E[x_0 | x_t] weighs each
mask by exp(-|x_t - alpha m|^2 / 2 sigma^2) times how probable the image makes it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from headwater.core import Ancestral
from headwater.core.prediction import Target
from headwater.core.schedule import linear
from headwater.core.transition import fit
from headwater.errors import UserError
from headwater.methods.segmentation.implicit_ensembles.method import ImplicitEnsembles
from headwater.methods.segmentation.segdiff.method import SegDiff
from headwater.methods.segmentation.shared.mask_diffusion import FittedMasks, MasksConfig, merge, turned
from headwater.metrics.mask_agreement import energy_distance
from headwater.models.schema import build, plain
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.sampling import Run
from headwater.training import TrainerConfig

MASKS = torch.zeros(3, 4, 4)
MASKS[0, :2], MASKS[1, :, :2], MASKS[2, 1:3, 1:3] = 1, 1, 1
PROBABLE = torch.tensor([[0.2, 0.5, 0.3], [0.7, 0.3, 0.0]])  # of each mask, for the two images
IMAGES = PROBABLE.log()[:, :, None, None].expand(-1, -1, 4, 4)


class Posterior(nn.Module):
    """Answers with what the exact posterior mean implies; an image is its log-probabilities."""

    def __init__(self, T: int, background: float, predicts: Target) -> None:
        super().__init__()
        self.predicts = predicts
        self.bar = (1 - linear(T)).cumprod(0)
        self.T, self.masks = T, background + (1 - background) * MASKS.flatten(1)
        self.encoded = 0

    def encode(self, image: Tensor) -> Tensor:
        self.encoded += len(image)
        return image[:, :, 0, 0]

    def forward(self, x: Tensor, label: Tensor, features: Tensor) -> Tensor:
        bar = self.bar[(label * self.T / 1000).round().long()]
        a, b = fit(bar.sqrt(), x), fit((1 - bar).sqrt(), x)
        gap = (x.flatten(1)[:, None] - a.view(-1, 1, 1) * self.masks[None]).square().sum(-1)
        weights = (features - gap / (2 * b.view(-1, 1).square())).softmax(-1)
        x0 = (weights @ self.masks).view_as(x)
        eps = (x - a * x0) / b
        return eps if self.predicts == "eps" else a * eps - b * x0


def oracle(background: float, predicts: Target = "eps") -> Any:
    config = SimpleNamespace(
        network=SimpleNamespace(out_channels=1),
        shape=(3, 4, 4), classes=2, T=100, background=background, predicts=predicts, rescaled=True,
    )  # fmt: skip
    return FittedMasks(Posterior(100, background, predicts), config)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("background", [-1.0, 0.0])
@pytest.mark.parametrize(("variance", "predicts"), [("large", "eps"), ("small", "eps"), ("small", "v")])
def test_mean_and_variance_are_the_posteriors(background: float, variance: Any, predicts: Target) -> None:
    n, run = 1500, Run(seed=1, batch_size=1500, progress=False)
    method, fitted = SegDiff(samples=n), oracle(background, predicts)
    drawn = method.draw(IMAGES, fitted, Ancestral(variance), run)
    found = merge(drawn)
    mean = torch.einsum("bm,mhw->bhw", PROBABLE, MASKS)
    # Five standard errors of a share among n draws; the variance of a 0/1 value is p (1 - p).
    tolerance = 5 * float((mean * (1 - mean)).max() / n) ** 0.5
    torch.testing.assert_close(found.mean[:, 0], mean, atol=tolerance, rtol=0)
    torch.testing.assert_close(found.variance[:, 0], mean * (1 - mean), atol=tolerance, rtol=0)
    sure = (mean - 0.5).abs() > tolerance
    assert torch.equal(found.labels[sure] > 0, mean[sure] > 0.5)
    # Every sample is one of the masks.
    gap = (drawn[:, :, :, None] - MASKS).flatten(4).abs().amax(-1).amin(-1)
    assert float(gap.max()) < 0.05
    # And as a set they are as far from the truth as chance makes them.
    truth = MASKS[torch.multinomial(PROBABLE[0], n, True, generator=torch.Generator().manual_seed(0))] > 0
    samples = drawn[0, :300, 0] > 0.5
    assert float(energy_distance(samples, truth[:300])) < 0.01
    wrong = energy_distance(samples, MASKS[1:2].expand(300, -1, -1) > 0)
    assert float(wrong) == pytest.approx(0.2773, abs=0.05)  # by hand: 2 (0.2 2/3 + 0.3 4/5) - 0.4693


def test_an_image_is_encoded_once_and_a_sample_depends_on_its_own_seed_alone() -> None:
    fitted = oracle(-1.0)

    def draw(image: Tensor, n: int, batch: int, first: int = 0) -> Tensor:
        run = Run(seed=3, batch_size=batch, progress=False, first=first)
        return SegDiff(samples=n, steps=10).draw(image, fitted, Ancestral("large"), run)

    whole = draw(IMAGES, 7, 32)
    assert fitted.network.encoded == 2
    assert torch.allclose(draw(IMAGES, 7, 3), whole, atol=1e-6)
    assert fitted.network.encoded == 4  # an image's samples in three calls a step, ten steps: still once
    assert torch.allclose(draw(IMAGES, 3, 32), whole[:, :3], atol=1e-6)
    assert torch.allclose(draw(IMAGES[1:], 7, 32, first=1), whole[1:], atol=1e-6)
    other = draw(IMAGES[:1].expand(2, -1, -1, -1), 7, 32)
    assert torch.allclose(other[0], whole[0], atol=1e-6)
    assert not torch.allclose(other[0], other[1], atol=1e-2)


def test_a_larger_image_is_drawn_in_tiles_that_overlap() -> None:
    """Of an image that makes the first mask certain the rows of all tiles join."""
    fitted, run = oracle(-1.0), Run(seed=3, progress=False)
    certain = torch.tensor([0.0, -90.0, -90.0])[None, :, None, None]
    method = SegDiff(samples=2, steps=10)
    with pytest.raises(UserError, match="larger than the 4 x 4 fitted on: resize them, or set tiled"):
        method.draw(certain.expand(1, 3, 4, 10), fitted, Ancestral("large"), run)
    tiled = replace(method, tiled=True)
    found = tiled.draw(certain.expand(2, 3, 6, 10), fitted, Ancestral("large"), run)
    assert found.shape == (2, 2, 1, 6, 10)
    # Two tiles cover six rows: the upper one says rows 0 and 1, the lower one rows 2 and 3, half of which
    # the upper one denies.
    rows = torch.tensor([1, 1, 0.5, 0.5, 0, 0])[:, None].expand(6, 10)
    torch.testing.assert_close(found, rows.expand_as(found), atol=0.02, rtol=0)
    # Tiles of one image have noises of their own, and the first one that of an image of its size.
    doubtful = IMAGES[:1, :, :1, :1]
    wide = tiled.draw(doubtful.expand(1, 3, 4, 10), fitted, Ancestral("large"), run)
    alone = method.draw(doubtful.expand(1, 3, 4, 4), fitted, Ancestral("large"), run)
    torch.testing.assert_close(wide[..., :3], alone[..., :3])
    assert torch.equal(tiled.draw(doubtful.expand(1, 3, 4, 4), fitted, Ancestral("large"), run), alone)


def test_masks_are_drawn_from_turns_and_flips_and_turned_back() -> None:
    image = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    views = [turned(image[..., :4], view) for view in range(8)]
    assert all(not torch.equal(a, b) for i, a in enumerate(views) for b in views[:i])
    for view in range(8):
        assert torch.equal(turned(turned(image, view), view, True), image)
    fitted, run = oracle(-1.0), Run(seed=3, progress=False)  # which sees one pixel, the same in every view
    method = SegDiff(samples=11, steps=10)
    plain = method.draw(IMAGES, fitted, Ancestral("large"), run)
    found = replace(method, views=True).draw(IMAGES, fitted, Ancestral("large"), run)
    for i, view in enumerate((0, 4, 2, 6, 1, 5, 3, 7, 0, 4, 2)):
        torch.testing.assert_close(found[:, i], turned(plain[:, i], view, True))
    fewer = replace(method, views=True, samples=3).draw(IMAGES, fitted, Ancestral("large"), run)
    torch.testing.assert_close(fewer, found[:, :3])


def test_views_of_an_oblong_image_keep_its_sides() -> None:
    image, labels = squares(4)
    image, labels = image[..., :4, :], labels[:, :4]
    method = replace(SEGDIFF, samples=5, views=True)
    fitted = method.fit(image, labels, **QUIET)
    assert method.apply(image, fitted, **QUIET).samples.shape == (4, 5, 1, 4, 8)


def test_the_state_that_was_best_on_held_out_images_is_kept() -> None:
    image, labels = squares(12)
    training = TrainerConfig(steps=12, batch_size=4, lr=5e-2, held_out=4, evaluate_every=2)
    last, best = (
        replace(SEGDIFF, training=replace(training, keep_best=keep)).fit(image, labels, **QUIET)
        for keep in (False, True)
    )
    pairs = zip(last.network.parameters(), best.network.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)  # at such a rate the last is not the best


SMALL: dict[str, Any] = {
    "network": UNetArchitecture(32, (1,), 1, (), use_scale_shift_norm=False),
    "training": TrainerConfig(steps=3, batch_size=4, lr=1e-3),
}
SEGDIFF = SegDiff(encoder_blocks=1, encoder_width=8, encoder_growth=4, steps=5, samples=3, **SMALL)
IMPLICIT = ImplicitEnsembles(steps=5, samples=3, **SMALL)
QUIET = Run(seed=1, progress=False)


def squares(n: int, classes: int = 2) -> tuple[Tensor, Tensor]:
    """Images of a bright square on noise, and its mask."""
    generator = torch.Generator().manual_seed(n)
    labels = torch.zeros(n, 8, 8, dtype=torch.long)
    for i, (top, left) in enumerate(torch.randint(5, (n, 2), generator=generator).tolist()):
        labels[i, top : top + 4, left : left + 4] = 1 + i % (classes - 1)
    noise = 0.1 * torch.randn(n, 3, 8, 8, generator=generator)
    return (noise + labels[:, None] / (classes - 1) * 1.6 - 0.8).clamp(-1, 1), labels


@pytest.mark.parametrize("method", [SEGDIFF, replace(SEGDIFF, condition="concatenate"), IMPLICIT])
@pytest.mark.parametrize(("classes", "predicts"), [(2, "eps"), (3, "v")])
def test_consensus_mean_and_variance(method: Any, classes: int, predicts: Target) -> None:
    image, labels = squares(6, classes)
    method = replace(method, predicts=predicts)
    fitted = method.fit(image, labels, **QUIET)
    assert fitted.denoiser.predicts == predicts
    found = method.apply(image, fitted, **QUIET)
    assert found.samples.shape == (6, 3, 1 if classes == 2 else 3, 8, 8)
    mean = found.samples.mean(1)
    torch.testing.assert_close(found.variance, found.samples.var(1).sum(1, keepdim=True))
    torch.testing.assert_close(found.mean, mean if classes == 2 else mean.amax(1, keepdim=True))
    assert torch.equal(found.labels, (mean[:, 0] > 0.5).long() if classes == 2 else mean.argmax(1))
    own = found.samples[:, :, 0] > 0.5 if classes == 2 else found.samples.argmax(2)
    assert torch.equal(found.masks, own.long())
    assert method.evaluate(labels, labels)["dice"] == 1


def test_learns_a_square_and_more_samples_help() -> None:
    image, labels = squares(64)
    training = TrainerConfig(steps=150, batch_size=16, lr=3e-3, decay="cosine")
    method = replace(SEGDIFF, training=training, steps=10, samples=9, clip=(-1, 1), variance="small")
    fitted = method.fit(image, labels, **QUIET)
    test, truth = squares(17)
    found = method.apply(test, fitted, **QUIET)
    alone = (found.samples[:, 0, 0] > 0.5).long()
    nine, one = (method.evaluate(v, truth)["dice"] for v in (found.labels, alone))
    assert nine > 0.85
    assert nine > one + 0.05
    # The samples disagree where the network was never shown what is right.
    wrong = (found.labels != truth)[:, None]
    assert float(found.variance[wrong].mean()) > 1.3 * float(found.variance[~wrong].mean())


def test_the_network_is_told_what_the_reference_tells_it_and_older_files_what_they_learned(
    tmp_path: Path,
) -> None:
    """Implicit ensembles are told k, SegDiff 1000 k / T; files from before the config said which tell the
    latter."""
    config = replace(IMPLICIT, T=50).sizes((3, 8, 8), 2)
    for method, step in ((IMPLICIT, 1.0), (SEGDIFF, 20.0)):
        fitted = method.makes.fresh(replace(method, T=50).sizes((3, 8, 8), 2), 0)
        assert fitted.denoiser.process.label.diff()[1:].tolist() == pytest.approx([step] * 49)
    IMPLICIT.makes.fresh(config, 0).save_pretrained(tmp_path / "new")
    again = IMPLICIT.makes.from_pretrained(tmp_path / "new")
    assert again.config == config
    older = plain(config)
    del older["rescaled"]
    told = replace(again, config=build(MasksConfig, older, "an older file")).denoiser.process.label
    assert told.diff()[1:].tolist() == pytest.approx([20.0] * 49)


def test_soft_masks_mirrored_images_and_the_bound() -> None:
    image, labels = squares(6)
    soft, before = labels[:, None].float() * 0.7, image.clone()
    fitted = SEGDIFF.fit(image, soft, **QUIET)
    assert fitted.config.classes == 2
    assert torch.equal(fitted.encode(soft), 2 * soft - 1)
    one = replace(SEGDIFF, samples=1).apply(image, fitted, **QUIET)
    assert float(one.variance.abs().max()) == 0
    changed = (IMPLICIT, replace(IMPLICIT, mirror=True), replace(IMPLICIT, bound_weight=0.0))
    plain, mirrored, free = (m.fit(image, labels, **QUIET).network.state_dict() for m in changed)
    assert any(not torch.equal(plain[k], mirrored[k]) for k in plain)
    assert float(plain["out.2.weight"][1].abs().max()) > 0
    assert float(free["out.2.weight"][1].abs().max()) == 0  # without the bound nothing trains the variance
    assert torch.equal(image, before)  # the reference overwrites the caller's masks


def test_says_what_to_do() -> None:
    image, labels = squares(6)
    unlabelled = torch.where(labels == 1, 255, labels)
    deep = replace(SEGDIFF, network=replace(SEGDIFF.network, channel_mult=(1,) * 5))
    for method, given, mask, sentence in (
        (SEGDIFF, image, labels[:3], "one mask of the same size"),
        (SEGDIFF, image, unlabelled, "no class"),
        (SEGDIFF, image, labels[:, None] * 3.0, "scale them"),
        (SEGDIFF, image, labels[:, None].float().expand(-1, 2, -1, -1), "one channel"),
        (deep, image, labels, "multiples of 16"),
        (replace(SEGDIFF, T=10), image, labels, "21 or more"),
        (replace(IMPLICIT, background=1.0), image, labels, "background"),
    ):
        with pytest.raises(UserError, match=sentence):
            method.fit(given, mask, **QUIET)
    fitted = SEGDIFF.fit(image, labels, **QUIET)
    with pytest.raises(UserError, match="give a number from 1 to 100"):
        replace(SEGDIFF, steps=101).apply(image, fitted, **QUIET)
    with pytest.raises(UserError, match="at least one"):
        replace(SEGDIFF, samples=0).apply(image, fitted, **QUIET)
