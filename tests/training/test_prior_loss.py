"""What a step of a prior's training sees: a function of (seed, step, index in its items) and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from headwater.nets.adm_blocks import UNetArchitecture
from headwater.training import Recipe, TrainerConfig
from headwater.training.pictures import Pictures
from headwater.training.prior import Batch, Learner
from headwater.training.trainer import batch_rows

IMAGES = torch.linspace(-1, 1, 10 * 3 * 8 * 8).reshape(10, 3, 8, 8)
LABELS = torch.arange(10) % 3


def learner(batch_size: int = 8, parts: int = 1, **changes: Any) -> Learner:
    recipe = Recipe(
        data="x", shape=(3, 8, 8), class_conditional=True, label_dropout=0.3,
        network=UNetArchitecture(channel_mult=(1,), attention_resolutions=()),
        training=TrainerConfig(batch_size=batch_size, grad_accumulation=parts),
    )  # fmt: skip
    return Learner.of(replace(recipe, **changes), Pictures(IMAGES, LABELS, ("a", "b", "c")))


def batch(one: Learner, number: int) -> Batch:
    size = one.recipe.training.batch_size
    return one.batch(batch_rows(one.recipe.seed, len(IMAGES), size, number), number)


def joined(parts: list[Batch]) -> Batch:
    return Batch(
        torch.cat([p.x0 for p in parts]),
        torch.cat([p.t for p in parts]),
        torch.cat([p.eps for p in parts]),
        {"y": torch.cat([p.cond["y"] for p in parts])},
        torch.cat([p.keys for p in parts]),
    )


def agreements(a: Batch, b: Batch) -> list[bool]:
    pairs = [(a.x0, b.x0), (a.t, b.t), (a.eps, b.eps), (a.cond["y"], b.cond["y"]), (a.keys, b.keys)]
    return [torch.equal(p, q) for p, q in pairs]


@pytest.mark.parametrize("timesteps", ["uniform", "stratified"])
def test_any_split_of_the_batch_gives_the_same_rows(timesteps: str) -> None:
    kind: dict[str, Any] = {"timesteps": timesteps, "augment": ("flip", "hue")}
    whole = batch(learner(**kind), 5)
    torch.rand(3)  # the global generator has no say
    split = learner(2, 4, **kind)
    assert all(agreements(whole, joined([batch(split, 5 * 4 + part) for part in range(4)])))
    assert not any(agreements(whole, batch(learner(**kind), 6)))
    assert not any(agreements(whole, batch(learner(**kind, seed=1), 5)))


def test_rows_differ() -> None:
    found = batch(learner(), 0)
    assert len({tuple(e.flatten().tolist()) for e in found.eps}) == 8
    assert found.keys.unique().numel() == 8


@pytest.mark.parametrize("timesteps", ["uniform", "stratified"])
def test_timesteps_are_uniform_on_1_to_T(timesteps: str) -> None:
    one = learner(50, timesteps=timesteps)
    t = torch.cat([batch(one, s).t for s in range(200)])
    assert t.min() >= 1
    assert t.max() <= 1000
    counts = torch.histc(t.float(), 10, 1, 1000)
    assert ((counts - 1000).abs() < 150).all()


def test_stratified_timesteps_cover_every_batch() -> None:
    t = batch(learner(timesteps="stratified"), 3).t.sort().values
    assert ((t[1:] - t[:-1] - 125).abs() <= 1).all()


def test_hidden_labels_are_the_extra_class() -> None:
    y = batch(learner(1000), 0).cond["y"]
    assert 0.25 < (y == 3).float().mean() < 0.35
    assert y.max() == 3


def test_flip_mirrors_half_of_the_pictures() -> None:
    plain = batch(learner(200), 1).x0
    flipped = batch(learner(200, augment=("flip",)), 1).x0
    turned = torch.tensor([not torch.equal(a, b) for a, b in zip(plain, flipped, strict=True)])
    assert 0.35 < turned.float().mean() < 0.65
    assert torch.equal(flipped[turned], plain[turned].flip(-1))


def test_brain_augmentation_stays_in_range() -> None:
    recipe = Recipe(
        data="x", shape=(1, 16, 16), augment=("brain",), training=TrainerConfig(batch_size=4),
        network=UNetArchitecture(channel_mult=(1,), attention_resolutions=()),
    )  # fmt: skip
    pictures = Pictures(torch.rand(5, 1, 16, 16) * 2 - 1)
    whole = Learner.of(recipe, pictures)
    halves = replace(recipe, training=TrainerConfig(batch_size=2, grad_accumulation=2))
    first = whole.batch(torch.arange(4), 0).x0
    assert first.abs().max() <= 1
    assert torch.equal(first[2:], Learner.of(halves, pictures).batch(torch.arange(2, 4), 1).x0)


def test_the_error_is_chosen() -> None:
    losses = {}
    for error in ("l2", "l1", "huber"):
        one = learner(error=error)
        losses[error] = float(one.loss(one.prior.network, torch.arange(8), 0).detach())
    eps = batch(learner(), 0).eps  # the fresh network answers 0
    size = learner().batch(torch.arange(8), 0).eps.abs()
    assert losses["l2"] == pytest.approx(float(size.square().mean()), rel=1e-5)
    assert losses["l1"] == pytest.approx(float(size.mean()), rel=1e-5)
    want = torch.nn.functional.huber_loss(eps, torch.zeros_like(eps))
    assert losses["huber"] == pytest.approx(float(want), rel=1e-5)


def test_half_precision_leaves_data_and_noise_alone() -> None:
    kind: dict[str, Any] = {"augment": ("hue",), "noise": "simplex"}
    half = learner(**kind)
    exact, seen = batch(half, 0), []

    def network(x: torch.Tensor, label: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return torch.zeros_like(x)

    network.parameters = half.prior.network.parameters  # pyright: ignore[reportFunctionMemberAccess]
    with torch.autocast("cpu", torch.bfloat16):
        half.loss(network, batch_rows(0, len(IMAGES), 8, 0), 0)  # pyright: ignore[reportArgumentType]
    assert torch.equal(seen[0], half.prior.process.combine(exact.x0, exact.eps, exact.t))
