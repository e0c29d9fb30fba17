"""Plans, schedules, controls and guidance: what a walk visits and who may touch it on the way."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from closed_form import F64, Exact
from headwater.controls import Clip, DynamicThreshold
from headwater.core import (
    DDIM,
    Ancestral,
    ClassifierFree,
    Control,
    Denoiser,
    Diffusion,
    DPMSolver,
    FlowODE,
    Heun,
    Langevin,
    Prediction,
    PredictorCorrector,
    below,
    descend,
    jumps,
    last,
    network_calls,
    respaced,
    reverse,
    through,
)
from headwater.core.sampler import stays
from headwater.core.schedule import betas, betas_of_scheduler, geometric, karras, zero_terminal_snr
from headwater.core.timesteps import churned, log_snr, spaced
from headwater.noise import White

law = settings(max_examples=200, derandomize=True, deadline=None)
LINEAR = Diffusion.vp(betas("linear", 50))


@law
@given(st.integers(1, 300), st.integers(1, 300))
def test_descending_plans_fall_to_zero(T: int, n: int) -> None:
    if n > T:
        with pytest.raises(ValueError, match=f"1 to {T} steps"):
            descend(T, n)
        return
    plan = descend(T, n)
    assert plan[0] == T
    assert plan[-1] == 0
    assert network_calls(plan) == len(plan) - 1 == n
    assert all(s < t for t, s in pairwise(plan))
    for spacing in ("leading", "trailing", "linspace"):
        other = spaced(T, n, spacing)
        assert other[-1] == 0
        assert len(other) == n + 1
        assert all(s < t for t, s in pairwise(other))
    cut = below(plan, (T + 1) // 2)
    assert cut[0] == (T + 1) // 2
    assert cut[-1] == 0


@law
@given(
    st.integers(2, 60),
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 4)), max_size=2),
    st.integers(1, 3),
    st.one_of(st.none(), st.integers(1, 60)),
)
def test_jumps_move_one_level_at_a_time_and_end_clean(
    T: int, loops: list[tuple[int, int]], repeat: int, start: int | None
) -> None:
    walk = jumps(T, *loops, repeat=repeat, start=start)
    assert walk[0] == T
    assert walk[-1] == 0
    assert 0 not in walk[:-1]
    assert all(abs(s - t) == 1 for t, s in pairwise(walk))
    assert network_calls(walk) == T + sum(s > t for t, s in pairwise(walk))
    if start is not None:
        assert all(s <= start + 1 for t, s in pairwise(walk) if s > t)
    if not loops and repeat == 1:
        assert walk == descend(T)


@law
@given(st.integers(1, 40), st.integers(1, 3))
def test_stays_add_one_visit_per_level_and_are_added_once(T: int, times: int) -> None:
    plan = descend(T)
    assert network_calls(Heun().plan(plan)) == 2 * T - 1
    corrected = stays(plan, "before", times)
    assert network_calls(corrected) == T * (1 + times)
    assert corrected.count(0) == 1
    assert stays(corrected, "before", times) == corrected
    assert Heun().plan([9, 5, 7, 3, 0]) == [9, 5, 5, 7, 3, 3, 0]  # nothing to correct after a climb
    assert PredictorCorrector().plan([9, 5, 7, 3]) == [9, 9, 5, 7, 7, 3]


def test_plans_through_others() -> None:
    assert through([3, 2, 3, 2, 1, 0], [90, 60, 30, 0]) == [90, 60, 90, 60, 30, 0]
    assert churned([5, 3, 1, 0], {3: 4}) == [5, 3, 4, 1, 0]
    with pytest.raises(ValueError, match="climbs to 4"):
        through([4, 3], [90, 60, 30, 0])
    with pytest.raises(ValueError, match="nowhere to go"):
        below([5, 4, 0], 0)
    with pytest.raises(ValueError, match="length >= 1"):
        jumps(10, (0, 2))
    for spec in ("ddim30", "60", "20,40"):
        with pytest.raises(ValueError, match="take"):
            respaced(50, spec)


def test_log_snr_steps_are_even() -> None:
    q = Diffusion.vp(betas("linear", 1000))
    plan = log_snr(q, 10)
    steps = q.half_log_snr[torch.tensor(plan[:-1])].diff()
    assert plan[0] == 1000
    assert plan[-2:] == [1, 0]
    assert (steps / steps.mean() - 1).abs().max() < 0.03


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("n", [1, 2, 9, 25, 100, 500, 1000])
def test_log_snr_visits_as_many_levels_as_it_is_asked_for(name: str, n: int) -> None:
    q = Diffusion.vp(betas(name, 1000))
    plan = log_snr(q, n)
    assert len(plan) == n + 1
    assert plan[0] == 1000
    assert n == 1 or plan[-2] == 1
    assert all(a > b for a, b in pairwise(plan))


def test_log_snr_starts_at_pure_noise_too() -> None:
    q = Diffusion.flow(100)
    for n in (1, 2, 7, 100):
        plan = log_snr(q, n)
        assert len(plan) == n + 1
        assert plan[0] == 100
    steps = q.half_log_snr[torch.tensor(log_snr(q, 7)[1:-1])].diff()
    assert (steps / steps.mean() - 1).abs().max() < 0.2


def test_schedules_keep_their_formulas() -> None:
    u = torch.arange(1, 1001, dtype=F64) / 1000
    start = np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    bar = (((u + 0.008) / 1.008 * torch.pi / 2).cos() ** 2) / start
    actual = (1 - betas("cosine", 1000)).cumprod(0)
    torch.testing.assert_close(actual[:-1], bar[:-1], rtol=1e-9, atol=0)
    assert betas("cosine", 1000)[-1] == 0.999
    sqrt = (1 - betas("sqrt", 1000)).cumprod(0)
    expected = (1 - (u + 1e-4).sqrt()) / (1 - 1e-2)
    torch.testing.assert_close(sqrt[:-1], expected[:-1], rtol=1e-9, atol=0)
    assert torch.equal(betas("quadratic", 7), betas("scaled_linear", 7, start=1e-4, end=0.5))
    roots = betas("scaled_linear", 9).sqrt().diff()
    assert (roots - roots.mean()).abs().max() < 1e-15
    logistic = ((betas("sigmoid", 9) - 1e-4) / (0.02 - 1e-4)).logit().diff()
    assert (logistic - logistic.mean()).abs().max() < 1e-9
    powers = karras(20).pow(1 / 7).diff()
    assert (powers - powers.mean()).abs().max() < 1e-12
    ratio = geometric(20)[1:] / geometric(20)[:-1]
    assert (ratio - ratio.mean()).abs().max() < 1e-12
    assert float(karras(1)) == 80
    terminal = (1 - zero_terminal_snr(betas("cosine", 30))).cumprod(0)
    assert terminal[-1] == 0
    for name, message in (("nope", "unknown schedule"), ("linear", "at least one step")):
        with pytest.raises(ValueError, match=message):
            betas(name, 0)
    with pytest.raises(ValueError, match="does not take start"):
        betas("cosine", 10, start=0.1)
    with pytest.raises(ValueError, match="within 0 and 1"):
        Diffusion.vp(betas("linear", 10))  # 1000 / T times 0.02 is 2


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"])
@pytest.mark.parametrize("zero", [False, True])
def test_scheduler_configs_are_read_as_diffusers_reads_them(name: str, zero: bool) -> None:
    from diffusers import DDIMScheduler

    # diffusers has no sigmoid in DDIM; DDPM has it, without the rescaling.
    if name == "sigmoid":
        from diffusers import DDPMScheduler

        theirs = DDPMScheduler(beta_schedule=name, num_train_timesteps=200, rescale_betas_zero_snr=zero)
    else:
        theirs = DDIMScheduler(beta_schedule=name, num_train_timesteps=200, rescale_betas_zero_snr=zero)
    ours = Diffusion.vp(betas_of_scheduler(dict(theirs.config))).alpha[1:].square()
    torch.testing.assert_close(ours, theirs.alphas_cumprod.double(), rtol=0, atol=2e-6)


def test_trained_and_unknown_scheduler_configs() -> None:
    assert torch.equal(betas_of_scheduler({"trained_betas": [0.1, 0.2]}), torch.tensor([0.1, 0.2], dtype=F64))
    assert torch.equal(betas_of_scheduler({}), betas("linear", 1000, start=1e-4, end=0.02))
    with pytest.raises(ValueError, match="unknown beta_schedule 'laplace'"):
        betas_of_scheduler({"beta_schedule": "laplace"})


class Paste(Control):
    """Puts known values back, as an editing control."""

    def after(self, x: Tensor, s: int, step: int) -> Tensor:
        return x


class Peek(Control):
    def before(self, x: Tensor, t: int) -> Tensor:
        return x


def start(n: int = 2) -> Tensor:
    return torch.randn(n, 1, 3, dtype=F64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("control", [Paste(), Peek()])
def test_multistep_samplers_refuse_controls_that_edit_x(control: Control) -> None:
    exact = Exact(LINEAR, 0.0, 0.5)
    for sampler in (DPMSolver(), DPMSolver(kind="sde"), Heun(), FlowODE()):
        with pytest.raises(ValueError, match=f"{type(control).__name__} changes x between steps"):
            reverse(exact, start(), descend(50, 5), sampler, [control])
    for sampler in (Ancestral(), DDIM(), PredictorCorrector()):
        last(reverse(exact, start(), descend(50, 5), sampler, [control]))
    last(reverse(exact, start(), descend(50, 5), DPMSolver(), [Clip()]))


def test_each_part_of_a_complex_estimate_is_clipped() -> None:
    x0 = torch.tensor([[3 - 0.5j, -0.25 + 2j]])
    found = Clip().denoised(Prediction(x0, 1, x0, torch.zeros(1), 1.0, 1.0))
    assert torch.equal(found.x0, torch.tensor([[1 - 0.5j, -0.25 + 1j]]))


def test_impossible_walks_are_refused_at_once() -> None:
    exact = Exact(LINEAR, 0.0, 0.5)
    for plan, message in (
        ([3], "at least two levels"),
        ([51, 0], r"visits 0\.\.51"),
        ([5, 0, 0], "stays at level 0"),
        ([0, 0], "stays at level 0"),
        ([4, -1], r"visits -1\.\.4"),
    ):
        with pytest.raises(ValueError, match=message):
            reverse(exact, start(), plan)
    with pytest.raises(ValueError, match="do not begin a plan by staying"):
        last(reverse(exact, start(), [5, 5, 0], Heun()))
    with pytest.raises(ValueError, match="pair it with a predictor"):
        last(reverse(exact, start(), [5, 0], Langevin()))
    with pytest.raises(ValueError, match="no variance head"):
        last(reverse(exact, start(), [5, 2, 0], Ancestral("learned")))


def test_a_climb_from_clean_data_noises_it_first() -> None:
    exact = Exact(LINEAR, 0.0, 0.5)
    steps = list(reverse(exact, start(), [0, 20, 0], DDIM(), noise=White().stream([1, 2])))
    assert steps[0].pred is None
    expected = LINEAR.sample(start(), 20, White().stream([1, 2]))
    assert torch.equal(steps[0].x, expected)
    assert [(step.t, step.s) for step in steps] == [(0, 20), (20, 0)]


def test_controls_are_called_in_order_and_see_what_the_others_left() -> None:
    seen: list[str] = []

    class Watch(Control):
        def before(self, x: Tensor, t: int) -> Tensor:
            seen.append(f"before {t}")
            return x

        def denoised(self, pred: Prediction) -> Prediction:
            seen.append("denoised")
            assert pred.x0.abs().max() <= 0.1  # Clip came first
            return pred

        def transition(self, dist: Any, pred: Prediction, s: int) -> Any:
            seen.append("transition")
            return dist

        def after(self, x: Tensor, s: int, step: int) -> Tensor:
            seen.append(f"after {s} {step}")
            return x

    clip = Clip(-0.1, 0.1)
    last(reverse(Exact(LINEAR, 0.0, 2.0), start() * 3, [9, 5, 7, 0], DDIM(), [clip, Watch()]))
    one = ["denoised", "transition"]
    assert seen == ["before 9", *one, "after 5 0", "before 7", *one, "after 0 2"]


def test_gradients_flow_only_where_they_were_asked_for() -> None:
    class Needs(Control):
        needs_grad = True
        asked = False

        def denoised(self, pred: Prediction) -> Prediction:
            (slope,) = torch.autograd.grad(pred.x0.sum(), pred.x, retain_graph=True)
            assert slope.abs().min() > 0
            Needs.asked = True
            return pred

    exact = Exact(LINEAR, 0.0, 0.5)
    for step in reverse(exact, start(), descend(50, 3), DDIM(), [Needs()]):
        assert not step.x.requires_grad
        assert torch.is_grad_enabled()
    assert Needs.asked
    leaf = start().requires_grad_()
    assert not last(reverse(exact, leaf, descend(50, 3), DDIM())).requires_grad
    last(reverse(exact, leaf, descend(50, 3), DDIM(), keep_graph=True)).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.abs().min() > 0


def test_self_conditioning_passes_on_the_previous_estimate() -> None:
    got: list[Tensor] = []

    def network(x: Tensor, label: Tensor, x_self: Tensor) -> Tensor:
        got.append(x_self)
        return x * 0.5 + 0.1 * x_self

    denoiser = Denoiser(network, LINEAR, predicts="x0", self_conditioning=True)
    steps = list(reverse(denoiser, start(), [40, 20, 30, 10, 0], DDIM(), [Clip(-0.3, 0.3)]))
    assert torch.equal(got[0], torch.zeros_like(start()))
    assert torch.equal(got[1], torch.zeros_like(start()))  # a climb forgets
    assert steps[2].pred is not None
    assert torch.equal(got[2], steps[2].pred.x0)  # after the control
    got.clear()
    denoiser.loss(start(4), torch.tensor([1, 2, 3, 4]), start(4))
    assert len(got) == 2
    used = got[1].abs().flatten(1).sum(1) > 0
    assert used.tolist() == [False, True, False, True]


def test_classifier_free_guidance_is_one_batched_call() -> None:
    sizes: list[int] = []

    def network(x: Tensor, label: Tensor, y: Tensor, extra: Tensor) -> Tensor:
        sizes.append(len(x))
        assert len(x) == len(label) == len(y) == len(extra)
        return torch.tanh(x) * y.reshape(-1, 1, 1) + extra.reshape(-1, 1, 1)

    inner = Denoiser(network, LINEAR, predicts="eps")
    y, extra = torch.tensor([1.0, 2.0], dtype=F64), torch.tensor([0.3, 0.4], dtype=F64)
    null = {"y": torch.zeros(1, dtype=F64)}
    guided = ClassifierFree(inner, 3.0, null)
    for t in (20, torch.tensor([20, 7])):
        sizes.clear()
        pred = guided(start(), t, y=y, extra=extra)
        assert sizes == [4]
        told, plain = inner(start(), t, y=y, extra=extra), inner(start(), t, y=0 * y, extra=extra)
        expected = plain.eps + 3.0 * (told.eps - plain.eps)
        torch.testing.assert_close(pred.eps, expected, rtol=0, atol=1e-12)
        assert torch.equal(pred.x, start())
        assert pred.label.shape == (2,)
    same = ClassifierFree(inner, 1.0, null)(start(), 20, y=y, extra=extra)
    torch.testing.assert_close(same.x0, inner(start(), 20, y=y, extra=extra).x0, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="guidance needs the condition y"):
        guided(start(), 20, extra=extra)
    last(reverse(guided, start(), descend(50, 4), DPMSolver(), y=y, extra=extra))


def test_classifier_free_guidance_keeps_the_variance_of_the_condition() -> None:
    def network(x: Tensor, label: Tensor, y: Tensor, x_self: Tensor) -> Tensor:
        return torch.cat([x, y.reshape(-1, 1, 1).expand_as(x)], 1) + 0 * torch.cat([x_self, x_self], 1)

    inner = Denoiser(network, LINEAR, variance="learned_range", self_conditioning=True)
    guided = ClassifierFree(inner, 2.0, {"y": -torch.ones(1, dtype=F64)})
    y = torch.ones(2, dtype=F64)
    steps = list(reverse(guided, start(), descend(50, 3), Ancestral("learned"), y=y))
    assert steps[-1].pred is not None
    assert steps[-1].pred.fraction is not None
    assert (steps[-1].pred.fraction == 1).all()


def test_dynamic_threshold_is_a_clip_for_small_values_and_rescales_large_ones() -> None:
    q = Diffusion.flow(10)
    x = torch.tensor([[[0.5, -2.0, 4.0, 1.0]], [[0.1, 0.2, -0.3, 0.4]]], dtype=F64)
    pred = Prediction(x, 5, x, torch.zeros(2), *q.scales(5))
    out = DynamicThreshold(1.0).denoised(pred).x0
    torch.testing.assert_close(out[0], x[0] / 4, rtol=0, atol=1e-12)
    assert torch.equal(out[1], x[1])
    half = DynamicThreshold(0.5).denoised(pred).x0
    assert half[0].abs().max() == 1


def test_a_network_of_the_wrong_width_is_named() -> None:
    x = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ValueError, match=r"must return 6 channels"):
        Denoiser(lambda x, label: x, LINEAR, variance="learned_range")(x, 3)
    with pytest.raises(ValueError, match=r"must return 3 channels"):
        Denoiser(lambda x, label: torch.cat([x, x], 1), LINEAR)(x, 3)


def test_a_double_state_can_use_a_single_network() -> None:
    kinds: list[torch.dtype] = []

    def network(x: Tensor, label: Tensor) -> Tensor:
        kinds.extend((x.dtype, label.dtype))
        return x

    pred = Denoiser(network, LINEAR, dtype=torch.float32)(start(), 3)
    assert kinds == [torch.float32, torch.float32]
    assert pred.x0.dtype == F64


def test_without_a_source_torch_s_own_generator_decides() -> None:
    exact = Exact(LINEAR, 0.0, 0.5)
    torch.manual_seed(3)
    first = last(reverse(exact, start(), descend(50, 5)))
    assert not torch.equal(first, last(reverse(exact, start(), descend(50, 5))))
    torch.manual_seed(3)
    assert torch.equal(first, last(reverse(exact, start(), descend(50, 5))))
