"""Diffusion, its losses and its loops against openai/guided-diffusion, array by array.

Levels count from 0 = clean here, so the reference's timestep t is level t + 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from closed_form import Tape
from headwater.controls import Clip
from headwater.core import (
    DDIM,
    Ancestral,
    ClassifierMean,
    ClassifierScore,
    Denoiser,
    Diffusion,
    respaced,
    reverse,
)
from headwater.core.likelihood import bound, model_log_variance, normal_kl
from headwater.core.schedule import betas
from headwater.nets.adm_classifier import Classifier, ClassifierConfig

FORWARD, SAMPLE, PRED_X0 = 2e-5, 3e-4, 1e-3  # the tolerances that the arrays' README states


def near(actual: Tensor, expected: Tensor, atol: float = 0.0, relative: float = 0.0) -> None:
    """Absolute tolerance plus one relative to the largest value of the stored array."""
    atol = max(atol, relative * float(expected.abs().max()))
    torch.testing.assert_close(actual.to(expected.dtype), expected, atol=atol, rtol=0)


class Case:
    def __init__(self, data: Any) -> None:
        self.data, self.config = data, data.config
        self.net = data.unet("w/unet" if data.under("w/unet") else "w")
        self.q = Diffusion.vp(betas(self.config.get("schedule", "linear"), self.config["T"]))
        self.channels = data["in/xt"].shape[1]

    def denoiser(self, predicts: Any = "eps", variance: Any = "learned_range", q: Any = None) -> Denoiser:
        def network(x: Tensor, label: Tensor) -> Tensor:
            out = self.net(x, label)
            return out[:, : self.channels] if variance == "fixed" else out

        return Denoiser(network, q or self.q, predicts, variance)

    def part(self, spec: str) -> Diffusion:
        """The respaced chain as a table of its own, told the original timesteps."""
        keep = torch.tensor(respaced(self.config["T"], spec)[::-1])
        return Diffusion(self.q.alpha[keep], self.q.sigma[keep], self.q.label[keep])


@pytest.fixture(params=["linear", "cosine_gray"])
def case(request: pytest.FixtureRequest, golden: Callable[[str], Any]) -> Case:
    return Case(golden(f"adm/diffusion_{request.param}"))


def test_schedules_and_respacing(golden: Callable[[str], Any]) -> None:
    data = golden("adm/schedules")
    refused = 0
    for name in ("linear", "cosine"):
        for T in data.config["T"]:
            table = betas(name, T)
            q = Diffusion.vp(table)
            out = data.under(f"out/{name}/{T}")
            torch.testing.assert_close(table, out["betas"], rtol=1e-12, atol=0)
            torch.testing.assert_close(q.alpha[1:].square(), out["alphas_cumprod"], rtol=1e-12, atol=0)
            t = torch.arange(1, T + 1)
            small, large = q.log_variances(t, t - 1)
            torch.testing.assert_close(
                small, out["posterior_log_variance_clipped"], rtol=1e-12, atol=1e-11
            )  # the table keeps sigma, so 1 - abar carries one more rounding
            one = torch.ones(T, 1, dtype=torch.float64)
            on_x0 = q.posterior(0 * one, one, t, t - 1)
            torch.testing.assert_close(on_x0.mean[:, 0], out["posterior_mean_coef1"], rtol=3e-12, atol=0)
            assert isinstance(on_x0.std, Tensor)
            torch.testing.assert_close(
                on_x0.std[:, 0].square(), out["posterior_variance"], rtol=3e-12, atol=1e-18
            )
            on_x = q.posterior(one, 0 * one, t, t - 1)
            torch.testing.assert_close(on_x.mean[:, 0], out["posterior_mean_coef2"], rtol=3e-12, atol=1e-18)
            torch.testing.assert_close(large, out["betas"].log(), rtol=3e-12, atol=0)
            for spec in data.config["respacing"]:
                if f"respace_{spec}/timestep_map" not in out:
                    with pytest.raises(ValueError, match="take"):
                        respaced(T, spec)
                    refused += 1
                    continue
                plan = respaced(T, spec)
                assert [level - 1 for level in plan[-2::-1]] == out[f"respace_{spec}/timestep_map"].tolist()
                keep = torch.tensor(plan[::-1])
                _, b = q.between(keep[:-1], keep[1:])
                assert isinstance(b, Tensor)
                torch.testing.assert_close(b.square(), out[f"respace_{spec}/betas"], rtol=3e-12, atol=0)
    assert refused == 6


def test_forward_and_posterior(case: Case) -> None:
    data, q = case.data, case.q
    for t in case.config["t"]:
        near(q.combine(data["in/x0"], data["in/eps"], t + 1), data[f"out/q_sample/t{t}"], 1e-6)
    post = q.posterior(data["in/xt"], data["in/x0"], 6, 5)
    near(post.mean, data["out/q_posterior/t5/mean"], 1e-6)
    near(torch.full_like(post.mean, float(post.std) ** 2), data["out/q_posterior/t5/variance"], 1e-9)
    log_small = torch.full_like(post.mean, float(q.log_variances(6, 5)[0]))
    near(log_small, data["out/q_posterior/t5/log_variance"], 1e-5)


@torch.no_grad()
@pytest.mark.parametrize("clip", [True, False])
def test_learned_range_step(case: Case, clip: bool) -> None:
    for t in case.config["t"]:
        stored = case.data.under(f"out/p_mean_variance/LEARNED_RANGE/{'clip' if clip else 'noclip'}/t{t}")
        pred = case.denoiser()(case.data["in/xt"], t + 1)
        pred = Clip().denoised(pred) if clip else pred
        dist, _ = Ancestral("learned").step(case.q, pred, t)
        near(pred.x0, stored["pred_xstart"], PRED_X0, 1e-5)
        near(dist.mean, stored["mean"], FORWARD, 1e-5)
        if not clip:
            logvar = model_log_variance(case.q, pred, t)
            near(logvar, stored["log_variance"], FORWARD, 1e-5)
            near(logvar.exp(), stored["variance"], FORWARD, 1e-5)
            if t > 0:
                near(dist.std**2, stored["variance"], FORWARD, 1e-5)


@torch.no_grad()
def test_other_variances_and_targets(case: Case) -> None:
    x = case.data["in/xt"]
    stored = case.data.under("out/p_mean_variance")
    learned = case.denoiser(variance="learned")(x, 6)
    dist, _ = Ancestral("learned").step(case.q, learned, 5)
    near(dist.mean, stored["LEARNED/noclip/t5/mean"], FORWARD, 1e-5)
    near(dist.std**2, stored["LEARNED/noclip/t5/variance"], FORWARD, 1e-5)
    for t in case.config["t"]:
        pred = Clip().denoised(case.denoiser("x0", "fixed")(x, t + 1))
        small, _ = Ancestral().step(case.q, pred, t)
        large, _ = Ancestral("large").step(case.q, pred, t)
        near(small.mean, stored[f"START_X/clip/t{t}/mean"], FORWARD)
        if t:  # the step into clean data draws nothing here; the reference keeps a variance it never uses
            for dist, name in ((small, "SMALL"), (large, "LARGE")):
                variance = float(stored[f"FIXED_{name}/noclip/t{t}/variance"])
                assert float(dist.std) ** 2 == pytest.approx(variance, rel=1e-6)
                log_variance = float(stored[f"FIXED_{name}/noclip/t{t}/log_variance"])
                assert 2 * math.log(dist.std) == pytest.approx(log_variance, rel=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("spec", ["10", "ddim10"])
@pytest.mark.parametrize(
    ("run", "sampler"),
    [("p_sample_loop", Ancestral("learned")), ("ddim_eta0", DDIM()), ("ddim_eta05", DDIM(0.5))],
)
def test_loops(case: Case, spec: str, run: str, sampler: Any) -> None:
    draws = list(case.data.under(f"noise/{run}_{spec}").values())
    plan = respaced(case.config["T"], spec)
    steps = list(reverse(case.denoiser(), draws[0], plan, sampler, [Clip()], Tape(draws[1:])))
    near(torch.stack([s.pred.x0 for s in steps]), case.data[f"out/{run}_{spec}/pred_xstart"], PRED_X0)
    near(torch.stack([s.x for s in steps]), case.data[f"out/{run}_{spec}/sample"], SAMPLE)


@torch.no_grad()
@pytest.mark.parametrize("variance", ["small", "large"])
def test_loops_without_clipping(case: Case, variance: Any) -> None:
    run = f"p_sample_loop_noclip_FIXED_{variance.upper()}_10"
    draws = list(case.data.under(f"noise/{run}").values())
    plan = respaced(case.config["T"], "10")
    denoiser = case.denoiser(variance="fixed")
    steps = list(reverse(denoiser, draws[0], plan, Ancestral(variance), noise=Tape(draws[1:])))
    stored = case.data[f"out/{run}/sample"]
    for step, expected in zip(steps, stored, strict=True):
        near(step.x, expected, SAMPLE, 3e-5)


def test_losses(case: Case) -> None:
    data, q = case.data, case.q
    x0, eps, T = data["in/x0"], data["in/eps"], case.config["T"]
    for t in case.config["t"]:
        out = data.under("out/training_losses")
        with torch.no_grad():
            rescaled = case.denoiser().loss(x0, t + 1, eps)
            fixed = case.denoiser(variance="fixed").loss(x0, t + 1, eps)
            clean = case.denoiser("x0", "fixed").loss(x0, t + 1, eps)
            pred = case.denoiser()(q.combine(x0, eps, t + 1), t + 1)
            vb = bound(q, pred, x0)
            clipped = bound(q, Clip().denoised(pred), x0)
        near(rescaled, out[f"RESCALED_MSE/LEARNED_RANGE/t{t}/loss"], 0, 2e-5)
        near(rescaled - fixed, out[f"RESCALED_MSE/LEARNED_RANGE/t{t}/vb"], 2e-5, 2e-5)
        near(fixed, out[f"RESCALED_MSE/LEARNED_RANGE/t{t}/mse"], 0, 2e-5)
        near(fixed, out[f"MSE/FIXED_LARGE/t{t}/loss"], 0, 2e-5)
        near(clean, out[f"MSE/START_X/t{t}/loss"], 0, 2e-5)
        near(vb, out[f"MSE/LEARNED_RANGE/t{t}/vb"], 0, 2e-5)
        near(vb, out[f"KL/LEARNED_RANGE/t{t}/loss"], 0, 2e-5)
        near(vb * T, out[f"RESCALED_KL/LEARNED_RANGE/t{t}/loss"], 0, 2e-5)
        near(clipped, data[f"out/vb_bpd/clip/t{t}"], 1e-7, 2e-5)  # down to 1e-6 bits: float32 cancels


def test_gradients(case: Case) -> None:
    data = case.data
    t = torch.tensor(case.config["t"][1:3]) + 1
    loss = case.denoiser().loss(data["in/x0"], t, data["in/eps"]).mean()
    near(loss.detach(), data["out/grad/loss"], 0, 1e-5)
    loss.backward()
    weights = dict(case.net.named_parameters())
    for name in ("input_blocks.0.0.weight", "out.2.weight", "middle_block.1.qkv.weight"):
        grad = weights[name].grad
        assert grad is not None
        near(grad, data[f"out/grad/{name}"], 0, 1e-4)


@torch.no_grad()
def test_total_bound_of_a_respaced_chain(case: Case) -> None:
    data, q = case.data, case.part("10")
    x0 = data["in/x0"]
    draws = list(data.under("noise/calc_bpd_loop").values())
    terms = {"vb": [], "xstart_mse": [], "mse": []}
    for t, eps in zip(range(q.T, 0, -1), draws, strict=True):
        x = q.combine(x0, eps, t)
        pred = Clip().denoised(case.denoiser(q=q)(x, t))
        terms["vb"].append(bound(q, pred, x0))
        terms["xstart_mse"].append((pred.x0 - x0).square().flatten(1).mean(1))
        terms["mse"].append((pred.eps - eps).square().flatten(1).mean(1))
    for name, columns in terms.items():
        near(torch.stack(columns, 1), data[f"out/calc_bpd_loop/{name}"], 0, 1e-4)
    end = q.alpha[-1] * x0, torch.as_tensor(2 * q.sigma[-1].log())
    prior = normal_kl(*end, torch.zeros(()), torch.zeros(())).flatten(1).mean(1) / math.log(2)
    near(prior, data["out/calc_bpd_loop/prior_bpd"], 1e-7, 1e-5)
    total = torch.stack(terms["vb"], 1).sum(1) + prior
    near(total, data["out/calc_bpd_loop/total_bpd"], 0, 1e-4)


@torch.no_grad()
def test_rescaled_labels(case: Case) -> None:
    q = case.part("10")
    q = replace(q, label=q.label * (1000 / case.config["T"]))
    pred = case.denoiser(q=q)(case.data["in/xt"], 7)
    near(
        Ancestral("learned").step(q, Clip().denoised(pred), 6)[0].mean,
        case.data["out/rescaled/p_mean_variance/mean"],
        FORWARD,
        1e-5,
    )


@torch.no_grad()
def test_ddim_encoding_of_a_picture(case: Case) -> None:
    # The reference takes the picture for x at its timestep 0, our level 1, and ends beyond the last level.
    q = case.part("ddim10")
    x = case.data["in/x0"]
    for t, expected in enumerate(case.data["out/ddim_reverse_noclip_ddim10/sample"], start=1):
        pred = case.denoiser(q=q)(x, t)
        x = q.combine(pred.x0, pred.eps, t + 1) if t < q.T else pred.eps
        near(x, expected, SAMPLE, 1e-5)


@pytest.mark.parametrize(
    ("run", "sampler", "guide"),
    [("p_guided", Ancestral("learned"), ClassifierMean), ("ddim_guided", DDIM(), ClassifierScore)],
)
def test_classifier_guidance(
    golden: Callable[[str], Any], run: str, sampler: Any, guide: type[ClassifierMean | ClassifierScore]
) -> None:
    data = golden("adm/classifier_guidance")
    case, y = Case(data), data["in/y"]
    classifier = Classifier(ClassifierConfig(**data.config["classifier"])).eval()
    classifier.load_state_dict(data.under("w/classifier"), strict=True)

    def log_prob(x: Tensor, label: Tensor) -> Tensor:
        return classifier(x, label).log_softmax(-1)[torch.arange(len(y)), y]

    control = guide(log_prob, data.config["scale"])
    plan = respaced(data.config["T"], data.config["respacing"])
    draws = list(data.under(f"noise/{run}").values())
    steps = list(reverse(case.denoiser(), draws[0], plan, sampler, [Clip(), control], Tape(draws[1:])))
    near(torch.stack([step.x for step in steps]), data[f"out/{run}/sample"], SAMPLE, 1e-5)
    x0 = torch.stack([step.pred.x0 for step in steps if step.pred])
    near(x0, data[f"out/{run}/pred_xstart"], PRED_X0, 1e-5)
