"""DiffuSeq against the arrays of its reference code: same weights, same noise, same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from headwater.controls import GivenRegion, Nearest
from headwater.core import DDIM, Ancestral, Control, Prediction, reverse, schedule
from headwater.core.timesteps import respaced
from headwater.core.transition import Level
from headwater.methods.text.diffuseq.fitted import DiffuSeqConfig, FittedDiffuSeq
from headwater.methods.text.diffuseq.method import losses
from headwater.methods.text.diffuseq.rows import Pairs
from headwater.nets.adm_blocks import timestep_embedding
from headwater.nets.text_denoiser import TextDenoiser, TextDenoiserConfig, published
from headwater.training.timesteps import LossSecondMoment

GoldenReader = Callable[[str], Any]
MODELS = ("tiny", "tiny_respaced")
KINDS = [(torch.float32, "out", 1e-5), (torch.float64, "out64", 1e-9)]
POSTERIOR = ("mean_coef1", "mean_coef2", "variance", "log_variance_clipped")
SCHEDULES = {
    "sqrt": "sqrt",
    "linear": "linear",
    "cosine": "cosine",
    "trunc_cos": "truncated_cosine",
    "trunc_lin": "truncated_linear",
}


def fitted(ref: Any, dtype: torch.dtype) -> FittedDiffuSeq:
    c = ref.config
    sizes = ("vocab", "max_pos", "emb", "t_dim", "hidden", "layers", "heads", "ff")
    config = TextDenoiserConfig(*(c[name] for name in sizes))
    network = TextDenoiser(config)
    weights = {new: v for k, v in ref.under("w").items() if (new := published(k))}
    network.load_state_dict(weights, strict=True)
    words: Any = SimpleNamespace(size=c["vocab"])
    found = FittedDiffuSeq(network.eval().to(dtype), DiffuSeqConfig(config, words, c["T"], c["schedule"]))
    if not c["rescale"]:
        label = found.process.label * (c["T"] / 1000)
        object.__setattr__(found.process, "label", label)
    return found


def close(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    assert ours.shape == theirs.shape
    error = float((ours.detach() - theirs).abs().max() / theirs.abs().max().clamp(min=1))
    assert error <= tolerance, f"off by {error:.2e}"


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_schedules(golden: GoldenReader, name: str) -> None:
    ref = golden("diffuseq/schedules")
    for T in ref.config["Ts"]:
        ours = schedule.betas(SCHEDULES[name], T)
        close(ours, ref[f"out/betas_{name}_{T}"], 1e-12)
        close((1 - ours).cumprod(0), ref[f"out/alphas_cumprod_{name}_{T}"], 1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_tables(golden: GoldenReader, model: str) -> None:
    ref = golden(f"diffuseq/{model}")
    q = fitted(ref, torch.float64).process
    close(schedule.sqrt(q.T), ref["out/table_betas"], 1e-12)
    close(q.alpha[1:].square(), ref["out/table_alphas_cumprod"], 1e-12)
    assert ref["out/timestep_map"].tolist() == list(range(q.T))
    one, none = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    for t in range(1, q.T + 1):
        stored = {k: ref[f"out/table_posterior_{k}"][t - 1] for k in POSTERIOR}
        dist = q.posterior(none, one, t, t - 1)
        close(dist.mean, stored["mean_coef1"].view(1, 1), 1e-9)
        close(q.posterior(one, none, t, t - 1).mean, stored["mean_coef2"].view(1, 1), 1e-9)
        assert dist.std**2 == pytest.approx(float(stored["variance"]), rel=1e-9, abs=1e-15)
        small = q.log_variances(t, t - 1)[0]
        assert small == pytest.approx(float(stored["log_variance_clipped"]), rel=1e-9)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("dtype", "out", "tolerance"), KINDS)
def test_network_and_codec(
    golden: GoldenReader, model: str, dtype: torch.dtype, out: str, tolerance: float
) -> None:
    ref = golden(f"diffuseq/{model}")
    found = fitted(ref, dtype)
    x, t = ref["in/x"].to(dtype), ref["in/t_float"]
    hidden: list[Tensor] = []
    for layer in found.network.encoder.layers:
        layer.register_forward_hook(lambda _, __, value: hidden.append(value))
    close(found.network(x, t), ref[f"{out}/forward"], tolerance)
    for i, value in enumerate(hidden):
        close(value, ref[f"{out}/hidden_layer{i}"], tolerance)
    close(timestep_embedding(t, ref.config["t_dim"]), ref[f"{out}/time_embedding_sinusoid"].float(), 1e-6)
    close(found.codec.logits(x), ref[f"{out}/logits"], tolerance)
    close(found.codec.encode(ref["in/input_ids"]), ref[f"{out}/embeds"], 0)
    close(found.codec.encode(found.codec.nearest(x)), ref[f"{out}/round"], 0)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("dtype", "out", "tolerance"), KINDS)
def test_losses_and_gradients(
    golden: GoldenReader, model: str, dtype: torch.dtype, out: str, tolerance: float
) -> None:
    ref = golden(f"diffuseq/{model}")
    found = fitted(ref, dtype)
    draws = iter([ref["noise/000"].to(dtype), ref["in/train_noise"].to(dtype)])
    pairs = Pairs(ref["in/input_ids"], ref["in/mask"].bool())
    answers: list[Tensor] = []
    found.network.register_forward_hook(lambda _, __, value: answers.append(value))
    terms = losses(found.denoiser, found.codec, pairs, ref["in/t"] + 1, lambda like, level: next(draws))
    close(terms[0], ref[f"{out}/loss_mse"], tolerance)
    close(sum(terms), ref[f"{out}/loss_loss"], tolerance)  # pyright: ignore[reportArgumentType]
    nats = torch.nn.functional.cross_entropy(
        found.codec.logits(answers[0]).flatten(0, 1), pairs.ids.flatten(), reduction="none"
    ).view_as(pairs.ids)
    close((nats * pairs.target).sum(1) / pairs.target.sum(1), ref[f"{out}/loss_nll"], tolerance)
    sum(terms).mean().backward()  # pyright: ignore
    theirs = {"word_embedding.weight": "table", "input_up_proj.0.bias": "up.0.bias"}
    grads = {name: value.grad for name, value in found.network.named_parameters()}
    for name, value in ref.under(f"{out}/grad").items():
        close(grads[theirs.get(name, name.replace("output_down_proj", "down"))], value, tolerance)


class Tape:
    """The reference's draws in its order; redrawn entries of a bounded law are filled in as it did."""

    def __init__(self, ref: Any, dtype: torch.dtype) -> None:
        self.draws: Iterator[Tensor] = iter(ref.under("noise").values())
        self.dtype = dtype

    def __call__(self, bound: float | None) -> Tensor:
        z = next(self.draws).to(self.dtype).clone()
        while bound is not None and bool((z.abs() > bound).any()):
            z[z.abs() > bound] = next(self.draws).to(self.dtype)
        return z


@dataclass(frozen=True)
class CodeDDIM(DDIM):
    """The reference's DDIM: from level t to t - 1 whatever the plan says, though the next call is lower."""

    def step(self, q: Any, pred: Prediction, s: int, state: Any = None) -> tuple[Any, Any]:
        assert isinstance(pred.t, int)
        return super().step(q, pred, pred.t - 1)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("dtype", "out", "tolerance"), [(torch.float32, "out", 1e-4), KINDS[1]])
def test_trajectories(
    golden: GoldenReader, model: str, dtype: torch.dtype, out: str, tolerance: float
) -> None:
    ref = golden(f"diffuseq/{model}")
    found, tape = fitted(ref, dtype), Tape(ref, dtype)
    tape(None)  # the embedding noise of the loss was drawn first
    T, ids = found.process.T, ref["in/input_ids"]
    clean, free = found.codec.encode(ids), ref["in/mask"].bool()[..., None]
    source = GivenRegion(clean, ~free, place="both")
    for name, how in ref.config["samplers"].items():
        bound = how.get("top_p")
        plan = respaced(T, how.get("steps") or T)
        assert [t - 1 for t in reversed(plan[:-1])] == ref[f"{out}/timestep_map_{name}"].tolist()
        sampler = Ancestral("large")
        if how["kind"] == "ddim":
            plan, sampler = [*range(T, 0, -how["gap"]), 0], CodeDDIM()
        cut = how.get("clamp_step", 0) + 1
        late = {"high": cut} if not how.get("clamp_first", True) else {"low": cut}
        controls: Sequence[Control] = [Nearest(found.codec, **late), source] if how["clamp"] else [source]
        start = source.put(tape(None), T)
        states = []

        def noise(like: Tensor, level: Level, bound: float | None = bound) -> Tensor:
            return tape(bound)

        with torch.no_grad():
            for step in reverse(found.denoiser, start, plan, sampler, controls, noise):
                states.append(step.x)
                # The reference draws at every step, even where it uses no noise.
                if how["kind"] == "ddim" or step.s == 0:
                    tape(bound)
        for i, (ours, theirs) in enumerate(zip(states, ref[f"{out}/sample_{name}"], strict=True)):
            error = float((ours - theirs).abs().max())
            assert error <= tolerance, f"{name}: step {i} off by {error:.2e}"
        assert torch.equal(found.codec.decode(states[-1]), ref[f"{out}/tokens_{name}"])


def test_resampler(golden: GoldenReader) -> None:
    ref = golden("diffuseq/tiny")
    wanted = ref["out/resampler_weights"]
    levels = LossSecondMoment(wanted.shape[1])
    pairs = zip(ref["in/resampler_ts"], ref["in/resampler_losses"], strict=True)
    for (t, loss), weights in zip(pairs, wanted, strict=True):
        levels.record(t[None] + 1, loss[None])
        close(levels.probabilities(), weights / weights.sum(), 1e-12)
    again = LossSecondMoment(wanted.shape[1])  # the same pairs as one batch
    again.record(ref["in/resampler_ts"] + 1, ref["in/resampler_losses"])
    close(again.probabilities(), levels.probabilities(), 1e-12)
