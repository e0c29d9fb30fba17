"""What a step sees: a function of (seed, step, index in the batch) and of nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from headwater.noise import White
from headwater.training import Recipe
from headwater.training.feed import Batch, Feed, Pictures

IMAGES = torch.linspace(-1, 1, 10 * 3 * 8 * 8).reshape(10, 3, 8, 8)
LABELS = torch.arange(10) % 3


def feed(**changes: object) -> Feed:
    recipe = Recipe(data="x", shape=(3, 8, 8), batch=8, class_conditional=True, label_dropout=0.3)
    recipe = replace(recipe, **changes)
    pictures = Pictures(IMAGES, LABELS, ("a", "b", "c"))
    return Feed(recipe, pictures, recipe.process.build(), White())


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


@pytest.mark.parametrize("levels", ["uniform", "stratified"])
def test_any_split_of_the_batch_gives_the_same_rows(levels: str) -> None:
    f = feed(levels=levels, augment=("flip", "hue"))
    whole = f.batch(5, range(8))
    torch.rand(3)  # the global generator has no say
    parts = joined(
        [feed(levels=levels, augment=("flip", "hue")).batch(5, range(j, j + 2)) for j in (0, 2, 4, 6)]
    )
    assert all(agreements(whole, parts))
    assert not any(agreements(whole, f.batch(6, range(8))))
    assert not any(agreements(whole, feed(levels=levels, augment=("flip", "hue"), seed=1).batch(5, range(8))))


def test_rows_differ() -> None:
    batch = feed().batch(0, range(8))
    assert len({tuple(e.flatten().tolist()) for e in batch.eps}) == 8
    assert batch.keys.unique().numel() == 8


def test_epochs_visit_each_picture_once_in_new_orders() -> None:
    f = feed()
    order = [f.picture(i) for i in range(30)]
    epochs = [order[k : k + 10] for k in (0, 10, 20)]
    assert all(sorted(e) == list(range(10)) for e in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_levels_are_uniform_on_1_to_T() -> None:
    for levels in ("uniform", "stratified"):
        f = feed(levels=levels, batch=50)
        t = torch.cat([f.batch(s, range(50)).t for s in range(200)])
        assert t.min() >= 1
        assert t.max() <= 1000
        counts = torch.histc(t.float(), 10, 1, 1000)
        assert ((counts - 1000).abs() < 150).all(), levels


def test_stratified_levels_cover_every_batch() -> None:
    t = feed(levels="stratified").batch(3, range(8)).t.sort().values
    assert ((t[1:] - t[:-1] - 125).abs() <= 1).all()


def test_hidden_labels_are_the_extra_class() -> None:
    f = feed(batch=1000)
    y = f.batch(0, range(1000)).cond["y"]
    assert 0.25 < (y == 3).float().mean() < 0.35
    assert y.max() == 3


def test_flip_mirrors_half_of_the_pictures() -> None:
    plain = feed(batch=200).batch(1, range(200)).x0
    flipped = feed(batch=200, augment=("flip",)).batch(1, range(200)).x0
    turned = torch.tensor([not torch.equal(a, b) for a, b in zip(plain, flipped, strict=True)])
    assert 0.35 < turned.float().mean() < 0.65
    assert torch.equal(flipped[turned], plain[turned].flip(-1))


def test_brain_augmentation_stays_in_range() -> None:
    recipe = Recipe(data="x", shape=(1, 16, 16), batch=4, augment=("brain",))
    pictures = Pictures(torch.rand(5, 1, 16, 16) * 2 - 1)
    f = Feed(recipe, pictures, recipe.process.build(), White())
    first = f.batch(0, range(4)).x0
    assert first.abs().max() <= 1
    assert torch.equal(first[2:], f.batch(0, range(2, 4)).x0)
