"""The driver: samples depend on their own seeds alone, choices mean what they say."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from headwater.controls import GivenRegion
from headwater.core import (
    DDIM,
    ClassifierMean,
    ClassifierScore,
    Control,
    Denoiser,
    Diffusion,
    DPMSolver,
    Prediction,
    descend,
    last,
    respaced,
    reverse,
)
from headwater.core.schedule import betas
from headwater.core.timesteps import log_snr
from headwater.discrete import absorbing
from headwater.errors import UserError
from headwater.noise import White, derive
from headwater.sampling import Batch, Run, Start, guided, sample, sampler_of, timesteps_of

Q = Diffusion.vp(betas("cosine", 20))
DENOISER = Denoiser(lambda x, label: 0.5 * x, Q)


def begin(batch: Batch) -> Start:
    return Start(Q.start(batch.empty(2, 3), batch.noise))


def drawn(n: int, draws: int = 1, **how: Any) -> Tensor:
    run = Run(device="cpu", progress=False, **how)
    return sample(DENOISER, descend(20, 5), n, begin, run, draws=draws)


def test_a_sample_depends_on_its_item_and_draw_alone() -> None:
    whole = drawn(5, 7).unflatten(0, (5, 7))
    assert torch.equal(drawn(5, 7, batch_size=3).unflatten(0, (5, 7)), whole)
    assert torch.equal(drawn(5, 2, batch_size=4).unflatten(0, (5, 2)), whole[:, :2])
    assert torch.equal(drawn(2, 7, first=3).unflatten(0, (2, 7)), whole[3:])
    assert len({tuple(x.flatten().tolist()) for x in whole.flatten(0, 1)}) == 35
    noise = White().stream([derive(0, 4, 2)])
    x = Q.start(torch.empty(1, 2, 3), noise)
    assert torch.equal(last(reverse(DENOISER, x, descend(20, 5), noise=noise))[0], whole[2, 4])


@pytest.mark.parametrize(("n", "draws", "size"), [(1, 1, 32), (5, 1, 2), (7, 3, 8), (3, 10, 4), (4, 4, 1)])
def test_batches_are_full_in_order_and_hold_whole_items_where_they_fit(n: int, draws: int, size: int) -> None:
    batches = Run(batch_size=size).batches(n, draws=draws)
    assert [(i, k) for b in batches for i in b.items for k in b.draws] == [
        (i, k) for i in range(n) for k in range(draws)
    ]
    assert all(len(b) <= max(size, 1) for b in batches)
    assert all(len(b.draws) == draws for b in batches) or draws > size
    rows = torch.arange(n)
    taken = torch.cat([b.take(rows) for b in batches])
    assert taken.tolist() == [i for i in range(n) for _ in range(draws)]
    assert all(b.take(torch.tensor([7])).tolist() == [7] * len(b) for b in batches)


def test_nothing_to_sample_is_said() -> None:
    with pytest.raises(UserError, match="no samples to compute: give one item or more"):
        drawn(0)


class Push(Control):
    """Move the estimate along the gradient of a function of x."""

    needs_grad = True

    def denoised(self, pred: Prediction) -> Prediction:
        (gradient,) = torch.autograd.grad(pred.x0.square().sum(), pred.x, retain_graph=True)
        return pred.with_x0(pred.x0 - 0.1 * gradient)


def test_a_control_gets_its_gradient_and_none_flows_out() -> None:
    def pushed(batch: Batch) -> Start:
        return Start(begin(batch).x, [Push()])

    found = sample(DENOISER, descend(20, 5), 3, pushed, Run(progress=False, device="cpu"))
    assert not found.requires_grad
    assert not torch.allclose(found, drawn(3))


def test_a_run_gives_its_fields_as_keywords() -> None:
    run = Run(3, batch_size=5, progress=False)
    assert Run(**run) == run
    assert run.device in ("cuda", "mps", "cpu")
    assert run.child("a") is run


def test_samplers_by_name() -> None:
    assert sampler_of("ddim") == DDIM()
    assert sampler_of("dpm-solver-sde") == DPMSolver(kind="sde")
    assert sampler_of("ancestral", "learned").variance == "learned"  # pyright: ignore
    with pytest.raises(UserError, match="choose one of ancestral, ddim, dpm-solver, dpm-solver-sde, heun"):
        sampler_of("eulre")  # type: ignore[arg-type]


def test_timesteps_by_number_and_by_section() -> None:
    assert timesteps_of(Q) == list(range(20, -1, -1))
    assert timesteps_of(1000, "10,10,3,2,2") == respaced(1000, "10,10,3,2,2")
    assert timesteps_of(20, 4) == timesteps_of(20, "4") == respaced(20, 4)
    assert timesteps_of(Q, 4, "even") == descend(20, 4)
    assert timesteps_of(Q, 4, "log-snr") == log_snr(Q, 4)


@pytest.mark.parametrize("steps", [0, 21, -1, "0", "21", "ddim13", "a", "4,", "30,1"])
def test_steps_that_there_are_not(steps: int | str) -> None:
    with pytest.raises(UserError, match=re.escape(f"steps is {steps!r}, and there are 20 timesteps: give a")):
        timesteps_of(20, steps)


def test_guidance_of_scale_1_is_none() -> None:
    assert guided(DENOISER, 1, {}) is DENOISER
    assert guided(DENOISER, 2, {}) is not DENOISER


def test_what_is_given_is_put_where_it_is_said() -> None:
    data, known = torch.ones(1, 2, 3), torch.tensor([True, False, False])
    x = torch.zeros(1, 2, 3)
    edits = {
        "before": (True, False),
        "after": (False, True),
        "both": (True, True),
        "estimate": (False, False),
    }
    for place, (before, after) in edits.items():
        region = GivenRegion(data, known, place=place)  # type: ignore[arg-type]
        assert bool(region.before(x, 3)[..., 0].all()) == before
        assert bool(region.after(x, 3, 0)[..., 0].all()) == after
        assert region.edits_x == (place != "estimate")
        pred = Prediction(x, 3, x, torch.zeros(1), 1.0, 1.0)
        assert bool(region.denoised(pred).x0[..., 0].all()) == (place == "estimate")
        assert not region.before(x, 3)[..., 1:].any()


def test_what_is_given_is_noised_to_the_level_and_draws_are_the_samples_own() -> None:
    data, known = torch.ones(2, 3), torch.tensor([[True, False, False], [False, True, True]])
    region = GivenRegion(data, known, Q, White().stream([1, 2]))
    wanted = Q.sample(data, 7, White().stream([1, 2]))
    assert torch.equal(region.before(torch.zeros(2, 3), 7), wanted.where(known, torch.zeros(())))
    chain = absorbing(4, betas("linear", 5), 3)
    tokens = GivenRegion(torch.tensor([[1, 2]]), torch.tensor([[True, False]]), chain)
    assert tokens.before(torch.tensor([[3, 3]]), 5).tolist() == [[1, 3]]


@pytest.mark.parametrize("guide", [ClassifierMean, ClassifierScore])
def test_a_classifier_guides_where_no_gradient_goes_through_the_network(
    guide: type[ClassifierMean | ClassifierScore],
) -> None:
    weight = torch.nn.Parameter(torch.ones(()))
    labels: list[Tensor] = []

    def log_prob(x: Tensor, label: Tensor) -> Tensor:
        labels.append(label)
        return -(weight * (1 + label)[:, None, None] * (x - 3).square()).flatten(1).sum(1)

    def guided_begin(batch: Batch) -> Start:
        return Start(begin(batch).x, [guide(log_prob, 0.05)])

    free, moved = (sample(DENOISER, descend(20), 2, b, Run(progress=False)) for b in (begin, guided_begin))
    assert len(labels) == 20
    assert bool(((moved - 3).abs().mean((1, 2)) < (free - 3).abs().mean((1, 2))).all())
