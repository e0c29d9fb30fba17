from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from headwater.metrics.classifier import (
    Classifier,
    accuracy,
    flip,
    generated_quality,
    predict,
    train_classifier,
)


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    bunch = load_digits()
    images = torch.tensor(np.asarray(bunch.images), dtype=torch.float32)[:, None] / 8 - 1
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images[order], torch.tensor(bunch.target)[order]


@pytest.fixture(scope="module")
def trained(digits: tuple[torch.Tensor, torch.Tensor]) -> Classifier:
    images, labels = digits
    return train_classifier(images[:1200], labels[:1200], seed=0, epochs=8, width=16)


def test_reads_digits_it_has_not_seen(trained: Classifier, digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    images, labels = digits
    assert accuracy(trained, images[1200:], labels[1200:]) > 0.93
    torch.testing.assert_close(predict(trained, images[:9]).sum(1), torch.ones(9))
    assert trained.features(images[:9]).shape == (9, 64)


def test_training_depends_on_its_seed_only(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    images, labels = digits[0][:96], digits[1][:96]
    torch.manual_seed(11)
    state = torch.get_rng_state()
    first = train_classifier(images, labels, seed=4, epochs=1, width=4)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    second = train_classifier(images, labels, seed=4, epochs=1, width=4)
    other = train_classifier(images, labels, seed=5, epochs=1, width=4)
    assert torch.equal(first(images), second(images))
    assert not torch.equal(first(images), other(images))


def test_pictures_are_changed_as_asked_for(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    images, labels = digits[0][:96], digits[1][:96]
    shown: list[torch.Tensor] = []

    def flipped(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        shown.append(flip(batch, generator))
        return shown[-1]

    train_classifier(images, labels, seed=4, epochs=1, batch=96, width=4, augment=flipped)
    rows = torch.randperm(96, generator=torch.Generator().manual_seed(4))
    same, mirrored = ((shown[0] == x).flatten(1).all(1) for x in (images[rows], images[rows].flip(-1)))
    assert bool((same | mirrored).all())
    assert 20 < int(mirrored.sum()) < 76


def test_training_on_what_is_made_of_each_batch(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    images, labels = digits[0][:96], digits[1][:96]
    seen: list[int] = []

    def disturb(net: nn.Module, shown: torch.Tensor, right: torch.Tensor, number: int) -> torch.Tensor:
        assert not net.training
        assert len(shown) == len(right)
        seen.append(number)
        return shown

    plain = train_classifier(images, labels, seed=4, epochs=2, width=4)
    same = train_classifier(images, labels, seed=4, epochs=2, width=4, disturb=disturb)
    assert torch.equal(plain(images), same(images))
    assert seen == [0, 1, 2, 3]
    black = train_classifier(images, labels, 4, 2, width=4, disturb=lambda net, x, y, n: torch.zeros_like(x))
    assert not torch.equal(plain(images), black(images))


def test_quality_tells_real_from_wrong_and_balanced_from_collapsed(
    trained: Classifier, digits: tuple[torch.Tensor, torch.Tensor]
) -> None:
    images, labels = digits
    held, other = images[1200:1500], images[1500:]
    noise = torch.randn(other.shape, generator=torch.Generator().manual_seed(2)).clamp(-1, 1)
    good, bad = generated_quality(trained, held, other), generated_quality(trained, held, noise)
    threes = generated_quality(trained, held, images[labels == 3])
    assert good.n == 150
    assert good.frechet < 3 * good.floor < threes.frechet
    assert bad.frechet > 3 * good.floor
    assert 0.97 < good.balance <= 1.0
    assert threes.balance < 0.3
    assert good.confidence == pytest.approx(good.real_confidence, abs=0.05)
    with pytest.raises(ValueError, match="at least 4 real"):
        generated_quality(trained, held[:3], other)


def test_images_and_labels_must_fit() -> None:
    with pytest.raises(ValueError, match="one length"):
        train_classifier(torch.zeros(3, 1, 8, 8), torch.zeros(2).long(), seed=0)
