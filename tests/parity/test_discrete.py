"""Discrete chains against the code of D3PM (images) and VQ-Diffusion: tables, posteriors, sampled tokens.

Both count timesteps from 0 where level 1 is here. Their logarithms carry small constants (1e-6, 1e-30), so
probabilities are compared, not logits. D3PM's prediction of x_0 is its posterior at t = 0. Its text chains
are in the room of the method.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from closed_form import F64, Uniforms
from headwater.core import Ancestral, Prediction, descend, reverse
from headwater.core.schedule import betas
from headwater.discrete import Categorical, Discrete, absorbing, mask_and_replace, uniform
from headwater.discrete.denoiser import bound_term, cross_entropy, prior_term
from headwater.discrete.process import band_diagonal, discretised_gaussian
from headwater.nets.categorical_unet import centred, logistic_logits

Load = Callable[[str], Any]


def near(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual.to(expected.dtype), expected, atol=atol, rtol=0)


def table(spec: dict[str, Any]) -> Tensor:
    T = spec["num_timesteps"]
    if spec["type"] == "linear":
        return betas("linear", T, start=spec["start"], end=spec["stop"])
    if spec["type"] == "cosine":
        return betas("cosine_unsquared", T)
    return 1 / torch.arange(T, 0, -1, dtype=F64)


def chain(config: dict[str, Any]) -> Discrete:
    K, rates = 2 ** config["bits"], table(config["betas"])
    if config["mat"] == "gaussian":
        return discretised_gaussian(K, rates, width=(K - 1) ** 2 / 255)  # the code's width; equal at K = 256
    if config["mat"] == "absorbing":
        return absorbing(K, rates, mask=K // 2)
    return uniform(K, rates) if config["bands"] is None else band_diagonal(K, rates, config["bands"])


class Leaky:
    """A chain whose posterior carries the reference's constants, so that an unmasked token may change after
    all, and its own rule for the last step."""

    def __init__(self, q: Discrete) -> None:
        self.q, self.T = q, q.T

    def posterior(self, x: Tensor, x0: Tensor, t: Any, s: Any) -> Categorical:
        arrive = (self.q.column(x, s, t).float() + 1e-6).log()
        joint = arrive + (self.q.forward(x0.softmax(-1), 0, s) + 1e-6).log()
        inside = (torch.as_tensor(s).expand(len(x)) > 0).reshape(-1, *[1] * (joint.ndim - 1))
        return Categorical(torch.where(inside, joint, x0))


def test_d3pm_schedules(golden: Load) -> None:
    data = golden("d3pm/images_schedules")
    for name, spec in data.config["specs"].items():
        torch.testing.assert_close(table(spec), data[f"out/betas_{name}"], rtol=1e-12, atol=0)


@pytest.fixture(params=["uniform", "absorbing", "gaussian", "gaussian_logistic", "band"])
def d3pm(request: pytest.FixtureRequest, golden: Load) -> tuple[Any, Discrete]:
    data = golden(f"d3pm/images_{request.param}")
    return data, chain(data.config)


def test_d3pm_matrices(d3pm: tuple[Any, Discrete]) -> None:
    data, q = d3pm
    eye = torch.eye(q.K, dtype=F64)
    for t in range(q.T):
        near(q.forward(eye, t, t + 1), data["out/q_onestep_mats"][t], 1e-12)
        near(q.forward(eye, 0, t + 1), data["out/q_mats"][t], 1e-12)


def test_d3pm_posteriors(d3pm: tuple[Any, Discrete]) -> None:
    data, q = d3pm
    t = data["in/t"].long() + 1
    x0 = data["in/x_start"].long()
    hot = torch.nn.functional.one_hot(x0, q.K).float()
    near(q.forward(hot, 0, t), data["out/q_probs"], 1e-5)
    x = Discrete.advance(q, x0, 0, t, Uniforms([data["noise/000"]]))
    assert torch.equal(x, data["out/x_t"].long())
    inside = t > 1  # at the first step the reference returns its prediction of x0 instead
    for logits, name in ((hot.log(), "int"), (data["in/logits"], "logits")):
        stored = data[f"out/q_posterior_logits_{name}"]
        near(Leaky(q).posterior(x, logits, t, t - 1).logits[inside], stored[inside], 2e-5)
    if data.config["mat"] != "absorbing" and data.config.get("bands") is None:
        # Nothing is impossible, so 1e-6 hardly count.
        ours = q.posterior(x, data["in/logits"], t, t - 1).probs[inside]
        near(ours, data["out/q_posterior_logits_logits"].softmax(-1)[inside], 2e-4)


def test_d3pm_trajectory(d3pm: tuple[Any, Discrete]) -> None:
    data, q = d3pm
    stored = data["out/sample_trajectory"].long()
    draws = list(data.under("noise").values())[-q.T :]
    weights = data["in/table"]

    def denoiser(x: Tensor, t: int, previous: Any = None) -> Prediction:
        return Prediction(x, t, weights[x] * (1 + 0.01 * (t - 1)), torch.zeros(len(x)))

    denoiser.process = Leaky(q)  # pyright: ignore[reportFunctionMemberAccess]
    plan = descend(q.T)[:-1]  # the last step is the reference's own: the likeliest x0, without noise
    steps = list(reverse(denoiser, stored[0], plan, Ancestral(), noise=Uniforms(draws)))  # pyright: ignore
    for step, expected in zip(steps, stored[1:], strict=False):
        assert torch.equal(step.x, expected)
    assert torch.equal(weights[steps[-1].x].argmax(-1), stored[-1])


def as_stored(ours: Tensor, stored: Tensor) -> None:
    """Logits to 2e-5; near the reference's floor of 1e-6, which float32 rounded, masses to 1e-7."""
    torch.testing.assert_close(ours.exp(), stored.exp(), rtol=2e-5, atol=1e-7)


def test_d3pm_bound_hybrid_loss_and_prior_term(d3pm: tuple[Any, Discrete]) -> None:
    data, q = d3pm
    x0, x, t = data["in/x_start"].long(), data["out/x_t"].long(), data["in/t"].long() + 1
    pred = Prediction(x, t, data["out/pred_x_start_logits"], t - 1.0)
    term = bound_term(Leaky(q), pred, x0, t - 1) / math.log(2)  # pyright: ignore[reportArgumentType]
    near(term, data["out/vb_terms_bpd"], 1e-5)
    entropy = cross_entropy(pred, x0) / math.log(2)
    near(entropy, data["out/cross_entropy_bpd"], 1e-5)
    near(term + data.config["coeff"] * entropy, data["out/hybrid_loss"], 1e-5)
    hot = torch.nn.functional.one_hot(x0, q.K).double()
    last = torch.full((q.K,), 1 / q.K, dtype=F64)
    if data.config["mat"] == "absorbing":
        last = torch.nn.functional.one_hot(torch.tensor(q.K // 2), q.K).double()
    reached = q.forward(hot, 0, q.T)
    leaky = (reached * ((reached + 1e-6).log() - (last + 1e-6).log())).sum(-1).flatten(1).mean(1)
    near(leaky / math.log(2), data["out/prior_bpd"], 1e-5)
    near(prior_term(q, x0) / math.log(2), data["out/prior_bpd"].double(), 2e-4)  # without the constants


def test_d3pm_heads(d3pm: tuple[Any, Discrete]) -> None:
    data, q = d3pm
    logistic = logistic_logits(data["in/loc"], data["in/log_scale"], q.K)
    as_stored(logistic, data["out/logistic_logits"])
    plain = data.config["model_output"] == "logits"
    as_stored(data["in/logits"] if plain else logistic, data["out/pred_x_start_logits"])
    assert centred(torch.tensor([0, q.K - 1]), q.K).tolist() == [-1, 1]


def vq_chain(keep: Tensor, masked: Tensor, K: int) -> Discrete:
    """The reference appends level 0 to its cumulative tables instead of beginning with it."""
    return mask_and_replace(K + 1, keep.roll(1), 1 - masked.roll(1), mask=K, mixture="exact")


def test_vq_diffusion_schedules(golden: Load) -> None:
    data = golden("vq-diffusion/schedules")
    for T, K in data.config["TK"]:
        for kind in data.config["kinds"]:
            out = {
                name: data[f"out/{kind}_T{T}_K{K}_{name}"] for name in ("at", "bt", "ct", "att", "btt", "ctt")
            }
            q = vq_chain(out["att"], out["ctt"], K)
            few = torch.tensor([[0, 1, K]])
            for t in (1, 2, T // 2, T):
                one = q.column(few, t - 1, t).double()[0]  # columns of Q: from every category into these
                whole = q.column(few, 0, t).double()[0]
                for rows, a, b, c in ((one, "at", "bt", "ct"), (whole, "att", "btt", "ctt")):
                    near(rows[0, 1], out[b][t - 1].float(), 1e-7)
                    near(rows[0, 0], (out[a] + out[b])[t - 1].float(), 1e-7)
                    near(rows[2, 0], out[c][t - 1].float(), 1e-7)
                    assert rows[2, K] == 1


def test_vq_diffusion_posteriors(golden: Load) -> None:
    data = golden("vq-diffusion/mask_and_replace")
    x0 = data["in/x0"]
    K = data["out/transformer_logits"].shape[1]
    q = vq_chain(data["out/schedule_att"], data["out/schedule_ctt"], K)
    t = data["in/t"].long() + 1
    hot = torch.nn.functional.one_hot(x0, K + 1).double()
    near(q.forward(hot, 0, t), data["out/q_pred"].exp().movedim(1, -1), 1e-6)
    x = Discrete.advance(q, x0, 0, t, Uniforms([data["noise/000"].movedim(1, -1)]))
    assert torch.equal(x, data["out/x_t"].long())
    inside = t > 1
    cases = {
        "true": hot.log(),
        "model": data["out/predict_start"].movedim(1, -1).double(),
        "soft": torch.nn.functional.pad(
            data["in/soft"].movedim(1, -1).double().log_softmax(-1), (0, 1), value=-torch.inf
        ),
    }
    for name, logits in cases.items():
        ours = q.posterior(x, logits, t, t - 1).probs[inside]
        theirs = data[f"out/q_posterior_{name}"].exp().movedim(1, -1)[inside]
        near(ours, theirs / theirs.sum(-1, keepdim=True), 2e-5)
