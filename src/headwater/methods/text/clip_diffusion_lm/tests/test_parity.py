"""CLIP-Diffusion-LM against the arrays of its reference code: same weights, same noise, same numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from arrays import Golden, Precise
from headwater.core import ClassifierFree, Denoiser, reverse
from headwater.methods.text.clip_diffusion_lm.fitted import process_of
from headwater.methods.text.clip_diffusion_lm.method import FixedPoint, l1, l2, losses
from headwater.nets.caption_denoiser import CaptionDenoiser, CaptionDenoiserConfig, published

SIZES = ("vocab", "length", "in_channel", "clip_dim", "dim", "layers", "heads", "hidden_dim", "max_pos")


class Case(Precise):
    """One file: its network, process and inputs in one precision."""

    def __init__(self, golden: Golden, dtype: torch.dtype) -> None:
        super().__init__(golden, dtype)
        c = golden.config
        words = "trained" if c["train_embedding"] else "frozen"
        sizes = CaptionDenoiserConfig(*(c[name] for name in SIZES), fusion=c["adding"], words=words)
        self.network = CaptionDenoiser(sizes)
        weights = {new: v for k, v in golden.under("w").items() if (new := published(k))}
        self.network.load_state_dict(weights, strict=True)
        self.network.eval().to(dtype)
        self.codec = self.network.codec
        self.process = process_of(c["T"], "cosine" if c["cosine"] else "linear")
        self.denoiser = Denoiser(self.network, self.process, "x0")
        null = {"with_text": torch.zeros(1, dtype=torch.int64)}
        self.guided = ClassifierFree(self.denoiser, 1 + c["cfg_weight"], null)
        self.features = {k: self[f"in/{k}_clip"] for k in ("image", "text")}
        self.x, self.ids, self.real = self["in/x"], self["in/input_ids"], self["in/mask"].bool()
        self.without = torch.zeros(len(self.x), dtype=torch.int64)
        self.tape = (v.to(dtype) for v in golden.under("noise").values())


@pytest.fixture(params=["concat", "add_guided", "concat_guided", "trained_embedding_xt"])
def ref(request: pytest.FixtureRequest, golden: Callable[[str], Golden]) -> Golden:
    return golden(f"clip-diffusion-lm/{request.param}")


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def case(request: pytest.FixtureRequest, ref: Golden) -> Case:
    return Case(ref, request.param)


def test_process(case: Case) -> None:
    q, x0 = case.process, case.codec.encode(case.ids)
    t = case["in/t_list"].repeat_interleave(len(case.ids))
    case.close(q.alpha.square(), "alpha_cumprod")
    assert len(q.alpha) == case.config["T"]
    case.close(x0, "embedding", 0)

    def at(t: Tensor, noise: Tensor) -> Tensor:
        return q.combine(x0.repeat(4, 1, 1), noise.repeat(4, 1, 1), t)

    case.close(at(t, next(case.tape)), "diffuse_t")
    case.close(at(t, next(case.tape)), "pair_input")
    if case.config["x0_prediction"]:
        case.close(x0, "pair_target", 0)
    else:
        lower = (t - case.config["interval"]).clamp(min=0)
        case.close(at(lower, next(case.tape)), "pair_target")


def test_network(case: Case) -> None:
    n, states = case.config["length"], list[Tensor]()
    for layer in case.network.encoder.layers:
        layer.register_forward_hook(lambda _, __, value: states.append(value))
    hidden = case.network.hidden(case.x, **case.features, with_text=case.without, real=case.real)
    case.close(hidden, "hidden")
    case.close(case.codec.logits(hidden[:, :n]), "logits")
    for i, value in enumerate(states):
        case.close(value, f"encoder_layer{i}")
    if f"{case.out}/guided_hidden" in case.golden:
        text = {**case.features, "with_text": case["in/concat_mask"][:, 1]}
        found = case.guided(case.x, 1, None, **text, real=case.real).x0
        case.close(found, case.stored("guided_hidden")[:, :n])
        case.close(case.codec.logits(found), "guided_logits")


def test_losses_and_gradients(case: Case) -> None:
    c, clean = case.config, case.codec.encode(case.ids)
    case.close(l1(case.x, clean), "lossfunc_series_sum_sample_mean")
    case.close(l1(case.x, clean) * case.x.shape[2] / c["dim"] / 100, "lossfunc_series_sum")
    case.close(l2(case.x, clean), "lossfunc_mse_series_mean")
    case.close(l2(case.x, clean), "lossfunc_mse_series_sum")
    far, near, far_words, near_words = golden_loss(case)
    # The *_sum functions divide the sum over captions and timesteps by the number of captions alone.
    many = c["samples"] if c["loss_func"].endswith("series_sum") else 1
    far = many * far
    rounding = c["rounding_weight"] * (many * far_words + near_words)
    total = far + near + rounding
    case.close(far, "loss_x_t")
    case.close(near, "loss_x_1")
    case.close(rounding, "loss_rounding")
    case.close(total, "loss_total")
    total.backward()
    query = "layer.0.attention.q_lin.weight"
    names = {
        "image_linear.weight": "image.weight",
        f"model.distilbert.transformer.{query}": "encoder.layers.0.attention.query.weight",
        "model.vocab_transform.bias": "transform.bias",
    }
    grads = {name: value.grad for name, value in case.network.named_parameters()}
    for name in case.golden.under(f"{case.out}/grad"):
        case.close(grads[names[name]], f"grad/{name}")


def golden_loss(case: Case) -> tuple[Tensor, ...]:
    c, tape = case.config, case.tape
    calls = 2 if c["x0_prediction"] else 3
    for _ in range(calls):  # drawn by the calls before
        next(tape)
    t = next(tape).flatten().long()
    draws = iter([next(tape) for _ in range(calls)])
    denoiser, with_text = case.denoiser, torch.zeros(len(t) * len(case.ids), dtype=torch.int64)
    if c["cfg_weight"]:
        with_text = (next(tape).flatten() > c["cfg_prob"]).long()
        with_text[0], with_text[1] = 0, 1
        denoiser = case.guided
    distance = l1 if c["loss_func"].startswith("series") else l2
    interval = None if c["x0_prediction"] else c["interval"]

    def noise(like: Tensor, level: object) -> Tensor:
        return next(draws)

    given = {**case.features, "real": case.real}
    return losses(denoiser, case.codec, case.ids, t, noise, with_text, distance, interval, **given)


def test_passes(case: Case) -> None:
    n, plan = case.config["length"], [10, 8, 6, 4, 2, 0]
    start = [*case.golden.under("noise").values()][-1].to(case.dtype)[:, :n]
    given = {**case.features, "text": torch.zeros_like(case.features["text"]), "with_text": case.without}
    with torch.no_grad():
        states = [step.x for step in reverse(case.denoiser, start, plan, FixedPoint(), **given)]
    for state, stored in zip(states, case.stored("passes_states"), strict=True):
        case.close(state, stored[:, :n])
    tokens = case.codec.decode(torch.stack(states))
    assert torch.equal(tokens, case.stored("passes_tokens"))
    case.close(case.codec.logits(states[-1]), "passes_logits_last")
    merged = tokens[-1].unique_consecutive(dim=-1)
    assert torch.equal(merged, case.stored("passes_tokens_unique_consecutive"))
    if f"{case.out}/guided_passes_states" in case.golden:
        given = {**case.features, "with_text": case.without + 1, "real": case.real}
        with torch.no_grad():
            steps = list(reverse(case.guided, case.x, plan[-4:], FixedPoint(), **given))
        for step, stored in zip(steps, case.stored("guided_passes_states"), strict=True):
            case.close(step.x, stored[:, :n])
