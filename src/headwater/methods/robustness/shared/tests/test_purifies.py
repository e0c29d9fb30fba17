"""The classifier behind a purifier: several paths, and the mode that it is left in."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from contract.specimens import exact_prior
from headwater.errors import UserError
from headwater.methods.robustness.blau_purification.method import BlauPurification
from headwater.methods.robustness.shared.purifies import OnUnitRange, Purified
from headwater.noise import derive

PRIOR, METHOD = exact_prior((1, 6, 6)), BlauPurification(steps=3)
X = torch.rand(5, 1, 6, 6, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def classifier() -> nn.Module:
    torch.manual_seed(1)
    return OnUnitRange(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Dropout(), nn.Linear(36, 4)))


def test_a_classifier_in_training_mode_is_evaluated_and_left_as_it_was(classifier: nn.Module) -> None:
    before = {k: v.clone() for k, v in classifier.state_dict().items()}
    modes = [part.training for part in classifier.modules()]
    seeds = list(range(5))
    found = Purified(classifier, PRIOR, METHOD).seeded(X, seeds)
    assert [part.training for part in classifier.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in classifier.state_dict().items())
    assert torch.equal(found, Purified(classifier.eval(), PRIOR, METHOD).seeded(X, seeds))


def test_paths_are_averaged_and_each_row_has_its_own(classifier: nn.Module) -> None:
    seeds = [derive(7, i) for i in range(5)]
    one = Purified(classifier, PRIOR, METHOD)
    answers = torch.stack([one.seeded(X, [derive(s, k) for s in seeds]) for k in range(3)])
    logits = Purified(classifier, PRIOR, METHOD, paths=3).seeded(X, seeds)
    torch.testing.assert_close(logits, answers.mean(0))
    several = Purified(classifier, PRIOR, METHOD, paths=3, average="probabilities").seeded(X, seeds)
    torch.testing.assert_close(several.softmax(1), answers.softmax(2).mean(0))
    torch.testing.assert_close(several[2:], Purified(
        classifier, PRIOR, METHOD, paths=3, average="probabilities"
    ).seeded(X[2:], seeds[2:]))  # fmt: skip


def test_impossible_paths_are_a_sentence(classifier: nn.Module) -> None:
    with pytest.raises(UserError, match="give 1 or more"):
        Purified(classifier, PRIOR, METHOD, paths=0)
    with pytest.raises(UserError, match="logits or probabilities"):
        Purified(classifier, PRIOR, METHOD, average="votes")  # pyright: ignore[reportArgumentType]
