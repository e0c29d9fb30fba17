"""One way to draw timesteps; their streams are part of what makes a training repeatable."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from arrays import Golden, close
from headwater.training.timesteps import LossSecondMoment, at, keyed, stratified, uniform


def test_places_lie_in_T_equal_parts() -> None:
    assert at(torch.tensor([0.0, 0.249, 0.25, 0.999, 1.0]), 4).tolist() == [1, 1, 2, 4, 4]
    assert keyed([0, 5, 2**63 - 1], 5).tolist() == [1, 1, 1 + (2**63 - 1) % 5]


def test_uniform_timesteps_reach_both_ends() -> None:
    found = uniform(9000, 3, torch.Generator().manual_seed(0))
    assert torch.equal(found, torch.randint(1, 4, (9000,), generator=torch.Generator().manual_seed(0)))
    counts = torch.bincount(found, minlength=4)
    assert counts[0] == 0
    assert ((counts[1:] - 3000).abs() < 200).all()


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_stratified_timesteps_are_one_in_each_part(kind: torch.dtype) -> None:
    for place in torch.rand(20, dtype=kind, generator=torch.Generator().manual_seed(0)):
        found = stratified(40, 8, place)
        assert torch.bincount(found, minlength=9).tolist() == [0] + [5] * 8
        rising = stratified(40, 1000, place / 40)
        assert torch.equal(rising, rising.sort().values)


def test_each_stratified_timestep_is_uniform_by_itself() -> None:
    places = torch.rand(4000, generator=torch.Generator().manual_seed(0))
    first = torch.stack([stratified(4, 5, place) for place in places])
    for column in first.T:
        assert ((torch.bincount(column, minlength=6)[1:] - 800).abs() < 120).all()


def test_a_place_for_each_row_stays_in_its_part() -> None:
    place = torch.rand(8, generator=torch.Generator().manual_seed(0))
    found = stratified(8, 800, place / 8)
    assert ((found - 1) // 100).tolist() == list(range(8))


def test_importance_sampling_has_no_bias() -> None:
    timesteps = LossSecondMoment(4, history=2)
    loss = torch.tensor([1.0, 2.0, 4.0, 8.0])
    timesteps.record(torch.tensor([1, 2, 3, 4] * 2), loss.repeat(2))
    torch.manual_seed(0)
    t, weights = timesteps.draw(40_000)
    assert float((weights * loss[t - 1]).mean()) == pytest.approx(float(loss.mean()), rel=0.01)
    share = torch.bincount(t, minlength=5)[1:] / len(t)
    assert share == pytest.approx(loss / 15, abs=0.01)


def test_a_history_of_losses_changes_between_steps_only() -> None:
    timesteps = LossSecondMoment(2, history=1)
    timesteps.note(torch.tensor([1, 2]), torch.tensor([1.0, 3.0], requires_grad=True))
    timesteps.note(torch.tensor([2]), torch.tensor([9.0]))
    assert timesteps.probabilities().tolist() == [0.5, 0.5]
    for note in timesteps.noted():
        timesteps.record(*note)
    assert timesteps.probabilities().tolist() == pytest.approx([0.999 * 0.1 + 0.0005, 0.999 * 0.9 + 0.0005])
    assert timesteps.noted() == []


def test_importance_sampling_equals_diffuseqs_code(golden: Callable[[str], Golden]) -> None:
    ref = golden("diffuseq/tiny")
    wanted = ref["out/resampler_weights"]
    timesteps = LossSecondMoment(wanted.shape[1])
    pairs = zip(ref["in/resampler_ts"], ref["in/resampler_losses"], strict=True)
    for (t, loss), weights in zip(pairs, wanted, strict=True):
        timesteps.record(t[None] + 1, loss[None])
        close(timesteps.probabilities(), weights / weights.sum(), 1e-12)
    again = LossSecondMoment(wanted.shape[1])  # the same pairs as one batch
    again.record(ref["in/resampler_ts"] + 1, ref["in/resampler_losses"])
    close(again.probabilities(), timesteps.probabilities(), 1e-12)
