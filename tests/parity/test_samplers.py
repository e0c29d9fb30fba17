"""Solvers against dpm-solver, EDM, score_sde and diffusers on closed-form Gaussian data.

The reference's chains become level tables at the very times that they visit, so the numbers must agree to
rounding. Samplers that the core does not have (UniPC, third order, Euler-Maruyama) have no test here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from closed_form import F64, Exact, Tape
from headwater.controls import Clip
from headwater.core import (
    DDIM,
    Ancestral,
    Control,
    Denoiser,
    Diffusion,
    DPMSolver,
    Gaussian,
    Heun,
    Langevin,
    Prediction,
    PredictorCorrector,
    Sampler,
    descend,
    jumps,
    reverse,
)
from headwater.core.schedule import betas_of_scheduler, geometric, karras
from headwater.core.timesteps import churned, respaced, spaced
from headwater.nets.wrappers import Preconditioned

Load = Callable[[str], Any]


def near(actual: Tensor, expected: Tensor, atol: float = 1e-10) -> None:
    torch.testing.assert_close(actual.to(expected.dtype), expected, atol=atol, rtol=atol)


def sub_table(alpha: Tensor, sigma: Tensor, label: Tensor | None = None) -> Diffusion:
    """Clean data, then the given levels in ascending order."""
    one, zero = torch.ones(1, dtype=F64), torch.zeros(1, dtype=F64)
    told = torch.arange(len(alpha), dtype=F64) if label is None else label
    return Diffusion(torch.cat([one, alpha]), torch.cat([zero, sigma]), torch.cat([zero, told]))


# --- dpm-solver -------------------------------------------------------------------------------------------


def log_alpha(schedule: str, t: Tensor, data: Any) -> Tensor:
    if schedule == "linear":
        return -t.square() / 4 * 19.9 - t / 2 * 0.1
    table = (1 - data["out/schedule/betas"]).log().cumsum(0) / 2
    at = t * 1000 - 1  # t_i = (i + 1) / N, straight lines between
    low = at.floor().clamp(0, 998).long()
    return table[low] + (at - low) * (table[low + 1] - table[low])


DPM_RUNS = ["multistep2_n10_time_uniform", "multistep2_n20_logSNR", "multistep1_n5_time_uniform"]
SHORT_RUNS = ["multistep2_n5_time_quadratic", "multistep2_n5_time_uniform"]


@pytest.mark.parametrize(
    ("schedule", "run"),
    [("linear", run) for run in DPM_RUNS] + [("discrete", run) for run in DPM_RUNS + SHORT_RUNS],
)
def test_dpm_solver(golden: Load, schedule: str, run: str) -> None:
    data = golden("samplers/dpm_solver")
    full = run == "multistep2_n5_time_uniform"  # second order to the end, then down to clean data
    out = data.under(f"out/dpm/{schedule}/dpmsolver++/{run}_dpmsolver{'_nolow_d0' if full else ''}")
    times = out["model_t"] if full else torch.cat([out["model_t"], torch.tensor([1e-3], dtype=F64)])
    la = log_alpha(schedule, times.flip(0), data)
    q = sub_table(la.exp(), (-(2 * la).expm1()).sqrt())
    if schedule == "linear":
        sde = Diffusion.vp_sde(times.flip(0))
        near(sde.alpha, q.alpha, 1e-14)
        near(sde.sigma, q.sigma, 1e-14)
        near(sde.label[1:], 999 * times.flip(0), 1e-12)
    exact = Exact(q, data["in/mean"], data["in/std"])
    order = 1 if "multistep1" in run else 2
    plan = [*range(q.T, 0, -1), 0] if full else list(range(q.T, 0, -1))
    lower = run == "multistep2_n5_time_quadratic"  # the reference lowers the last order below 10 steps
    walk = list(reverse(exact, data["in/x_T"], plan[:-1] if lower else plan, DPMSolver(order)))
    xs = [data["in/x_T"], *(step.x for step in walk)]
    if lower:
        xs += [step.x for step in reverse(exact, xs[-1], plan[-2:], DPMSolver(order))]
    near(torch.stack(xs), out["x"])
    near(xs[-1], out["final"])


# --- EDM --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", range(4))
def test_edm_with_and_without_churn(golden: Load, run: int) -> None:
    data = golden("samplers/edm")
    asked = {"sigma_min": 0.002, "sigma_max": 80.0, "rho": 7, "S_churn": 0.0, "S_min": 0.0, "S_noise": 1.0}
    asked |= data.config["edm"][run]
    n = asked["num_steps"]
    sigmas = karras(n, asked["sigma_min"], asked["sigma_max"], asked["rho"])
    gamma = min(asked["S_churn"] / n, 2**0.5 - 1)
    stirred = (sigmas >= asked["S_min"]) & (sigmas <= asked.get("S_max", torch.inf)) & (gamma > 0)
    # The levels that churning climbs to lie between the others: one table holds them all.
    both, order = torch.cat([sigmas, sigmas[stirred] * (1 + gamma)]).sort()
    q = Diffusion.ve(both)
    place = {int(origin): i + 1 for i, origin in enumerate(order)}
    climbs = {place[int(i)]: place[n + k] for k, i in enumerate(stirred.nonzero().flatten())}
    plan = churned([*(place[i] for i in range(n - 1, -1, -1)), 0], climbs)
    draws = list(data.under(f"noise/edm_{run:02d}").values())
    used = [z.double() * asked["S_noise"] for z, on in zip(draws, stirred.flip(0), strict=True) if on]
    exact = Exact(q, data["in/mean"], data["in/std"])
    *_, end = reverse(exact, data["in/x_T"] * sigmas[-1], plan, Heun(), noise=Tape(used))
    out = data.under(f"out/edm/{run:02d}")
    near(torch.stack([x for _, x in exact.calls]), out["net_x"])
    near(torch.stack([q.sigma[t] for t, _ in exact.calls]), out["net_sigma"])
    near(end.x, out["final"])


@pytest.mark.parametrize(("run", "sampler"), [(0, Heun()), (5, Heun()), (6, DDIM())])
def test_edm_ablation_on_straight_time(golden: Load, run: int, sampler: Sampler) -> None:
    data = golden("samplers/edm")
    asked, out = data.config["ablation"][run], data.under(f"out/ablation/{run:02d}")
    assert (asked["schedule"], asked["scaling"]) == ("linear", "none")
    sigmas = out["net_sigma"][:: 2 if asked["solver"] == "heun" else 1]
    if sampler == Heun():  # sigma, next, sigma, next, ..., last: every other call is the corrector's
        sigmas = torch.cat([out["net_sigma"][:1], out["net_sigma"][1::2]])
    exact = Exact(Diffusion.ve(sigmas.flip(0)), data["in/mean"], data["in/std"])
    *_, end = reverse(exact, data["in/x_T"] * sigmas[0], descend(len(sigmas)), sampler)
    near(torch.stack([x for _, x in exact.calls]), out["net_x"])
    near(end.x, out["final"])


def raw(x: Tensor, label: Tensor) -> Tensor:
    return 0.3 * x.tanh() + 0.1 * label.sin().reshape(-1, 1, 1, 1)


class Raw(torch.nn.Module):
    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        return raw(x, label)


def test_preconditioning_and_edm_loss(golden: Load) -> None:
    data = golden("samplers/precond_losses")
    x, sigma = data["in/x"], data["in/sigma"]
    near(Preconditioned(Raw())(x, sigma), data["out/precond/edm/D"], 1e-5)
    near(sigma.log() / 4, data["out/precond/edm/c_noise"], 1e-6)
    level, noise = data.under("noise/loss_edm").values()
    drawn = (level * 1.2 - 1.2).exp()
    error = Preconditioned(Raw())(data["in/y"] + drawn * noise, drawn.flatten()) - data["in/y"]
    weight = (drawn**2 + 0.25) / (drawn * 0.5) ** 2
    near(weight * error.square(), data["out/loss/edm"], 1e-5)
    # An eps network of the VP-SDE is EDM's "vp" wrapper: D at x of the VE scale.
    times = data["out/precond/vp/c_noise"].double() / 999
    ranks = times.argsort().argsort() + 1
    q = Diffusion.vp_sde(times.sort().values)
    pred = Denoiser(raw, q)(x * q.alpha[ranks].float().reshape(-1, 1, 1, 1), ranks)
    near(q.sigma[ranks] / q.alpha[ranks], sigma.double(), 1e-4)
    near(pred.x0, data["out/precond/vp/D"], 1e-4)
    near(pred.label, data["out/precond/vp/c_noise"], 1e-5)


@pytest.mark.parametrize("reduce_mean", [0, 1])
def test_score_sde_losses(golden: Load, reduce_mean: int) -> None:
    data = golden("samplers/precond_losses")
    y = data["in/y"]
    scale = 1 if reduce_mean else y[0].numel() / 2  # else half the sum
    for kind in ("vp", "ve"):
        u, z = data.under(f"noise/sde_loss_{kind}_rm{reduce_mean}_lw0").values()
        times = u.double() * (1 - 1e-5) + 1e-5
        ranks, ascending = times.argsort().argsort() + 1, times.sort().values
        if kind == "vp":
            q, predicts = Diffusion.vp_sde(ascending), "eps"
        else:
            q, predicts = Diffusion.ve(0.01 * 5000**ascending), "score"
        loss = Denoiser(raw, q, predicts).loss(y, ranks, z)
        loss = loss if kind == "vp" else loss * q.sigma[ranks].square()
        near(loss.mean() * scale, data[f"out/sde_loss/{kind}/reduce_mean{reduce_mean}_likelihood0"], 1e-5)


# --- score_sde --------------------------------------------------------------------------------------------


class Hold(Sampler):
    """The reference's predictor `none`: keep x, move to the next level."""

    def step(self, q: Any, pred: Prediction, s: int, state: Any = None) -> tuple[Gaussian, Any]:
        return Gaussian(pred.x, 0.0), None


def score_sde_chain(data: Any, kind: str) -> Denoiser:
    """Levels from the discrete tables, scores from the continuous process at the reference's times."""
    N, mean, var = data.config["N"], data["in/mean"], data["in/std"].square()
    t = torch.linspace(1e-3 if kind == "vp" else 1e-5, 1, N, dtype=F64)
    if kind == "vp":
        q = Diffusion.vp(torch.linspace(0.1 / N, 20 / N, N, dtype=F64), 999 * t)
        sde = Diffusion.vp_sde(t)
    else:
        q = Diffusion.ve(geometric(N), label=0.01 * 5000**t)
        sde = Diffusion.ve(0.01 * 5000**t)

    def score(x: Tensor, label: Tensor) -> Tensor:
        at = int((q.label - label[0]).abs()[1:].argmin()) + 1
        a, b = sde.alpha[at], sde.sigma[at]
        return -(x - a * mean) / (a * a * var + b * b)

    return Denoiser(score, q, "score")


PC_RUNS: list[tuple[str, Sampler]] = [
    ("ve_anc_none1", Ancestral()),
    ("ve_rd_none1", Ancestral("large")),
    ("vp_anc_none1_nodenoise", Ancestral("large")),
    ("ve_rd_langevin1", PredictorCorrector(Ancestral("large"), Langevin(0.16, "batch"))),
    ("ve_anc_langevin2_nodenoise", PredictorCorrector(Ancestral(), Langevin(0.16, "batch"), 2)),
    ("vp_none_langevin2", PredictorCorrector(Hold(), Langevin(0.16, "batch"), 2)),
]


@pytest.mark.parametrize(("run", "sampler"), PC_RUNS)
def test_predictor_corrector(golden: Load, run: str, sampler: Sampler) -> None:
    data = golden("samplers/score_sde")
    denoiser = score_sde_chain(data, run[:2])
    q = denoiser.process
    draws = [z.double() for z in data.under(f"noise/pc_{run}").values()]
    plan = descend(q.T)
    steps = list(
        reverse(
            denoiser,
            q.sigma[-1] * draws[0] if run[:2] == "ve" else draws[0],
            plan,
            sampler,
            noise=Tape(draws[1:]),
        )
    )
    xs = torch.stack([step.x for step in steps if step.s < step.t])
    stored = data[f"out/pc/{run}/x"]
    near(xs[:-1], stored[:-1], 1e-10)
    # The reference adds noise in its last step too; where it asks for denoising it returns the mean.
    if run == "vp_anc_none1_nodenoise":
        near(xs[-1] + float(q.between(0, 1)[1]) * draws[-1], stored[-1])
    else:
        near(xs[-1], data[f"out/pc/{run}/final"])


def test_continuous_marginals(golden: Load) -> None:
    data = golden("samplers/score_sde")
    t = torch.tensor(data.config["t"], dtype=F64)
    x = 2 * data["in/mean"]
    for kind, q in (("vp", Diffusion.vp_sde(t)), ("ve", Diffusion.ve(0.01 * 5000**t))):
        near(q.alpha[1:].reshape(-1, 1, 1, 1) * x, data[f"out/sde/{kind}/marginal_mean"], 1e-12)
        near(q.sigma[1:], data[f"out/sde/{kind}/marginal_std"], 1e-12)


# --- diffusers --------------------------------------------------------------------------------------------

ON_GRID = {
    **dict.fromkeys([0, 5, 10, 17, 18, 19], Ancestral()),
    15: Ancestral("large"),
    16: Ancestral("learned"),
    **dict.fromkeys([1, 6, 20, 22, 23], DDIM()),
    2: DDIM(0.5),
    **dict.fromkeys([3, 8, 13, 27, 29], DPMSolver()),
    26: DPMSolver(kind="sde"),
    28: DPMSolver(order=1),
}


@pytest.mark.parametrize("run", sorted(ON_GRID))
def test_diffusers_schedulers(golden: Load, run: int) -> None:
    data = golden("samplers/diffusers")
    _, config, _, _ = data.config["runs"][run]
    out = data.under(f"out/run_{run:02d}")
    q = Diffusion.vp(betas_of_scheduler(config))
    ends_at_level_1 = (
        config.get("set_alpha_to_one") is False or config.get("final_sigmas_type") == "sigma_min"
    )
    plan = [t + 1 for t in out["timesteps"].tolist()] + [1 if ends_at_level_1 else 0]
    exact = Exact(q, data["in/mean"], data["in/std"])
    predicts = {"v_prediction": "v", "sample": "x0"}.get(config.get("prediction_type", ""), "eps")
    learned = config.get("variance_type") == "learned_range"

    def network(x: Tensor, label: Tensor) -> Tensor:
        pred = exact(x, int(label[0]) + 1)
        value = getattr(pred, predicts)
        return torch.cat([value, data["in/var_channel"]], 1) if learned else value

    denoiser = Denoiser(network, q, predicts, "learned_range" if learned else "fixed")
    controls: Sequence[Control] = [Clip()] if config.get("clip_sample") else []
    noise = Tape(data.under(f"noise/run_{run:02d}").values())
    steps = list(reverse(denoiser, data["in/x_T"], plan, ON_GRID[run], controls, noise))
    if "pred_x0" in out:
        near(torch.stack([step.pred.x0 for step in steps if step.pred]), out["pred_x0"], 2e-5)
    xs = torch.stack([step.x for step in steps])
    if run == 16:  # diffusers adds learned noise to the finished sample when its last timestep is not 0
        xs, out["x"] = xs[:-1], out["x"][:-1]
    near(xs, out["x"], 2e-5)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.integers(1, 200), st.sampled_from(["leading", "trailing", "linspace"]), st.integers(0, 1))
def test_spacings_are_those_of_diffusers(n: int, spacing: Any, offset: int) -> None:
    from diffusers import DDIMScheduler, DDPMScheduler

    for kind in (DDPMScheduler, DDIMScheduler):
        scheduler = kind(num_train_timesteps=200, timestep_spacing=spacing, steps_offset=offset)
        if spacing == "leading" and offset and 200 // n * (n - 1) + 1 >= 200:
            continue
        scheduler.set_timesteps(n)
        ours = spaced(200, n, spacing, offset if spacing == "leading" else 0)
        assert [t - 1 for t in ours[:-1]] == scheduler.timesteps.tolist()


@pytest.mark.parametrize("name", ["linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("kind", ["ddpm", "ddpm-large", "ddim", "ddim-eta"])
def test_a_thousand_steps_agree_with_diffusers(name: str, kind: str) -> None:
    from diffusers import DDIMScheduler, DDPMScheduler

    config = {"beta_schedule": name, "clip_sample": False}
    if kind.startswith("ddpm"):
        theirs: Any = DDPMScheduler(
            **config, variance_type="fixed_large" if kind == "ddpm-large" else "fixed_small"
        )
    else:
        theirs = DDIMScheduler(**config)
    q = Diffusion.vp(betas_of_scheduler(config))
    theirs.alphas_cumprod = q.alpha[1:].square()
    theirs.set_timesteps(1000)
    exact = Exact(q, 0.3, 0.5)
    x = start = torch.randn(2, 1, 4, 4, dtype=F64, generator=torch.Generator().manual_seed(0))
    extra = {"eta": 0.7} if kind == "ddim-eta" else {}
    generator = torch.Generator().manual_seed(1)
    for t in theirs.timesteps.tolist():
        x = theirs.step(exact(x, t + 1).eps, t, x, generator=generator, **extra).prev_sample
    same = torch.Generator().manual_seed(1)

    def noise(like: Tensor, level: Any = 0) -> Tensor:
        return torch.randn(like.shape, dtype=like.dtype, generator=same)

    sampler = {"ddpm": Ancestral(), "ddpm-large": Ancestral("large"), "ddim": DDIM(), "ddim-eta": DDIM(0.7)}
    *_, end = reverse(exact, start, descend(1000), sampler[kind], noise=noise)
    near(end.x, x, 1e-9)


# --- plans ------------------------------------------------------------------------------------------------


def test_repaint_schedules(golden: Load) -> None:
    data = golden("repaint/schedules")
    for name, asked in data.config["sets"].items():
        loops = [
            (asked[f"jump{k}_length"], asked[f"jump{k}_n_sample"])
            for k in ("", 2, 3)
            if f"jump{k}_length" in asked
        ]
        walk = jumps(asked["t_T"], *loops, repeat=asked["n_sample"], start=start_of(asked))
        assert [t - 1 for t in walk] == data[f"out/{name}"].tolist(), name
        assert all(abs(s - t) == 1 for t, s in pairwise(walk))
    assert [t - 1 for t in jumps(250, (10, 10))] == data["out/paper"].tolist()


def test_glides_respacing(golden: Load) -> None:
    data = golden("glide/respacing")
    for spec, T in data.config["specs"]:
        steps = data[f"out/timesteps_{spec.replace(',', '_')}_{T}"].tolist()
        assert respaced(T, spec) == [t + 1 for t in reversed(steps)] + [0], spec


def start_of(asked: dict[str, int]) -> int | None:
    return asked["start_resampling"] + 1 if "start_resampling" in asked else None
