"""DiffuSeq against the arrays of its reference code: same weights, same noise, same numbers.

Its schedules are compared in tests/parity/test_schedules.py, its choice of timesteps in tests/training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from arrays import Golden, Precise, close
from headwater.controls import GivenRegion, Nearest
from headwater.core import DDIM, Ancestral, Prediction, reverse, schedule
from headwater.core.timesteps import respaced
from headwater.core.transition import Level
from headwater.methods.text.diffuseq.fitted import DiffuSeqConfig, FittedDiffuSeq
from headwater.methods.text.diffuseq.method import losses
from headwater.methods.text.diffuseq.rows import Pairs
from headwater.nets.adm_blocks import timestep_embedding
from headwater.nets.text_denoiser import TextDenoiser, TextDenoiserConfig, published

SIZES = ("vocab", "max_pos", "emb", "t_dim", "hidden", "layers", "heads", "ff")


@pytest.fixture(params=["tiny", "tiny_respaced"])
def ref(request: pytest.FixtureRequest, golden: Callable[[str], Golden]) -> Golden:
    return golden(f"diffuseq/{request.param}")


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def case(request: pytest.FixtureRequest, ref: Golden) -> Precise:
    return Precise(ref, request.param)


def fitted(case: Precise) -> FittedDiffuSeq:
    c = case.config
    config = TextDenoiserConfig(*(c[name] for name in SIZES))
    network = TextDenoiser(config)
    weights = {new: v for k, v in case.golden.under("w").items() if (new := published(k))}
    network.load_state_dict(weights, strict=True)
    words: Any = SimpleNamespace(size=c["vocab"])
    config = DiffuSeqConfig(config, words, c["T"], c["schedule"])
    found = FittedDiffuSeq(network.eval().to(case.dtype), config)
    if not c["rescale"]:
        object.__setattr__(found.process, "label", found.process.label * (c["T"] / 1000))
    return found


def test_tables(ref: Golden) -> None:
    q = fitted(Precise(ref, torch.float64)).process
    close(schedule.sqrt(q.T), ref["out/table_betas"], 1e-12)
    close(q.alpha[1:].square(), ref["out/table_alphas_cumprod"], 1e-12)
    assert ref["out/timestep_map"].tolist() == list(range(q.T))
    one, none = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    mean1, mean2, variance, clipped = (
        ref[f"out/table_posterior_{name}"]
        for name in ("mean_coef1", "mean_coef2", "variance", "log_variance_clipped")
    )
    for t in range(1, q.T + 1):
        step = q.posterior(none, one, t, t - 1)
        close(step.mean, mean1[t - 1].view(1, 1), 1e-9)
        close(q.posterior(one, none, t, t - 1).mean, mean2[t - 1].view(1, 1), 1e-9)
        assert step.std**2 == pytest.approx(float(variance[t - 1]), rel=1e-9, abs=1e-15)
        assert q.log_variances(t, t - 1)[0] == pytest.approx(float(clipped[t - 1]), rel=1e-9)


def test_network_and_codec(case: Precise) -> None:
    found, x, t = fitted(case), case["in/x"], case.golden["in/t_float"]
    hidden: list[Tensor] = []
    for layer in found.network.encoder.layers:
        layer.register_forward_hook(lambda _, __, value: hidden.append(value))
    case.close(found.network(x, t), "forward")
    for i, value in enumerate(hidden):
        case.close(value, f"hidden_layer{i}")
    time = case.stored("time_embedding_sinusoid").float()
    close(timestep_embedding(t, case.config["t_dim"]), time, 1e-6)
    case.close(found.codec.logits(x), "logits")
    case.close(found.codec.encode(case["in/input_ids"]), "embeds", 0)
    case.close(found.codec.encode(found.codec.nearest(x)), "round", 0)


def test_losses_and_gradients(case: Precise) -> None:
    found, draws = fitted(case), iter([case["noise/000"], case["in/train_noise"]])
    pairs = Pairs(case["in/input_ids"], case["in/mask"].bool())
    answers: list[Tensor] = []
    found.network.register_forward_hook(lambda _, __, value: answers.append(value))
    terms = losses(found.denoiser, found.codec, pairs, case["in/t"] + 1, lambda like, level: next(draws))
    total = torch.stack(terms).sum(0)
    case.close(terms[0], "loss_mse")
    case.close(total, "loss_loss")
    nats = found.codec.nats(answers[0], pairs.ids)
    case.close((nats * pairs.target).sum(1) / pairs.target.sum(1), "loss_nll")
    total.mean().backward()
    ours = {"word_embedding.weight": "table", "input_up_proj.0.bias": "up.0.bias"}
    grads = {name: value.grad for name, value in found.network.named_parameters()}
    for name in case.golden.under(f"{case.out}/grad"):
        case.close(grads[ours.get(name, name.replace("output_down_proj", "down"))], f"grad/{name}")


class Tape:
    """The reference's draws in its order; redrawn entries of bounded noise are filled in as it did."""

    def __init__(self, case: Precise) -> None:
        self.draws = (draw.to(case.dtype) for draw in case.golden.under("noise").values())

    def __call__(self, bound: float | None) -> Tensor:
        z = next(self.draws).clone()
        while bound is not None and bool((z.abs() > bound).any()):
            z[z.abs() > bound] = next(self.draws)
        return z


@dataclass(frozen=True)
class CodeDDIM(DDIM):
    """The reference's DDIM: from t to t - 1 whatever the plan says, though the next call is lower."""

    def step(self, q: Any, pred: Prediction, s: int, state: Any = None) -> tuple[Any, Any]:
        assert isinstance(pred.t, int)
        return super().step(q, pred, pred.t - 1)


def test_trajectories(case: Precise) -> None:
    found, tape = fitted(case), Tape(case)
    tape(None)  # the embedding noise of the loss was drawn first
    T, clean = found.process.T, found.codec.encode(case["in/input_ids"])
    source = GivenRegion(clean, ~case["in/mask"].bool()[..., None], place="both")
    for name, how in case.config["samplers"].items():
        bound, ddim = how.get("top_p"), how["kind"] == "ddim"
        plan = respaced(T, how.get("steps") or T)
        assert [t - 1 for t in reversed(plan[:-1])] == case.stored(f"timestep_map_{name}").tolist()
        if ddim:
            plan = [*range(T, 0, -how["gap"]), 0]
        cut = how.get("clamp_step", 0) + 1
        where = {"low": cut} if how.get("clamp_first", True) else {"high": cut}
        controls = [*([Nearest(found.codec, **where)] if how["clamp"] else []), source]
        start, states = source.put(tape(None), T), list[Tensor]()

        def noise(like: Tensor, level: Level, bound: float | None = bound) -> Tensor:
            return tape(bound)

        with torch.no_grad():
            sampler = CodeDDIM() if ddim else Ancestral("large")
            for step in reverse(found.denoiser, start, plan, sampler, controls, noise):
                states.append(step.x)
                # The reference draws at every step, even where it uses no noise.
                if ddim or step.s == 0:
                    tape(bound)
        tolerance = 1e-4 if case.dtype == torch.float32 else 1e-9
        close(torch.stack(states), case.stored(f"sample_{name}"), tolerance)
        assert torch.equal(found.codec.decode(states[-1]), case.stored(f"tokens_{name}"))
