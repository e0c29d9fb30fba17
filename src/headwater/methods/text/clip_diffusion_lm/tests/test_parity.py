"""CLIP-Diffusion-LM against the arrays of its reference code: same weights, same noise, same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from headwater.core import ClassifierFree, Denoiser, reverse
from headwater.methods.text.clip_diffusion_lm.fitted import process_of
from headwater.methods.text.clip_diffusion_lm.loss import l1, l2, losses
from headwater.methods.text.clip_diffusion_lm.method import FixedPoint
from headwater.nets.caption_denoiser import CaptionDenoiser, CaptionDenoiserConfig, published

GoldenReader = Callable[[str], Any]
MODELS = ("concat", "add_guided", "concat_guided", "trained_embedding_xt")
KINDS = [(torch.float32, "out", 1e-5), (torch.float64, "out64", 1e-9)]
SIZES = ("vocab", "length", "in_channel", "clip_dim", "dim", "layers", "heads", "hidden_dim", "max_pos")
every = pytest.mark.parametrize("model", MODELS)
both = pytest.mark.parametrize(("dtype", "out", "tolerance"), KINDS)


class Case:
    """One file: its network, process and inputs in one precision."""

    def __init__(self, ref: Any, dtype: torch.dtype) -> None:
        c = self.config = ref.config
        trained = c["train_embedding"]
        self.network = CaptionDenoiser(
            CaptionDenoiserConfig(
                *(c[name] for name in SIZES), fusion=c["adding"], words="trained" if trained else "frozen"
            )
        )
        weights = {new: v for k, v in ref.under("w").items() if (new := published(k))}
        self.network.load_state_dict(weights, strict=True)
        self.network.eval().to(dtype)
        self.codec = self.network.codec
        self.process = process_of(c["T"], "cosine" if c["cosine"] else "linear")
        self.denoiser = Denoiser(self.network, self.process, "x0")
        self.features = {k: ref[f"in/{k}_clip"].to(dtype) for k in ("image", "text")}
        self.x, self.ids = ref["in/x"].to(dtype), ref["in/input_ids"]
        self.real, self.with_text = ref["in/mask"].bool(), ref["in/concat_mask"][:, 1]
        self.tape: Iterator[Tensor] = (v.to(dtype) for v in ref.under("noise").values())

    def guided(self, scale: float) -> ClassifierFree:
        return ClassifierFree(self.denoiser, scale, {"with_text": torch.zeros(1, dtype=torch.int64)})


def close(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    assert ours.shape == theirs.shape
    error = float((ours.detach() - theirs).abs().max() / theirs.abs().max().clamp(min=1))
    assert error <= tolerance, f"off by {error:.2e}"


@every
@both
def test_process(golden: GoldenReader, model: str, dtype: torch.dtype, out: str, tolerance: float) -> None:
    ref = golden(f"clip-diffusion-lm/{model}")
    case = Case(ref, dtype)
    q = case.process
    close(q.alpha.square(), ref[f"{out}/alpha_cumprod"].double(), tolerance)
    assert len(q.alpha) == ref.config["T"]
    x0, t = case.codec.encode(case.ids), ref["in/t_list"].repeat_interleave(len(case.ids))
    close(x0, ref[f"{out}/embedding"], 0)

    def at(levels: Tensor, noise: Tensor) -> Tensor:
        return q.combine(x0.repeat(4, 1, 1), noise.repeat(4, 1, 1), levels)

    close(at(t, next(case.tape)), ref[f"{out}/diffuse_t"], tolerance)
    close(at(t, next(case.tape)), ref[f"{out}/pair_input"], tolerance)
    if ref.config["x0_prediction"]:
        close(x0, ref[f"{out}/pair_target"], 0)
    else:
        lower = (t - ref.config["interval"]).clamp(min=0)
        close(at(lower, next(case.tape)), ref[f"{out}/pair_target"], tolerance)


@every
@both
def test_network(golden: GoldenReader, model: str, dtype: torch.dtype, out: str, tolerance: float) -> None:
    ref = golden(f"clip-diffusion-lm/{model}")
    case, n = Case(ref, dtype), ref.config["length"]
    states: list[Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda _, __, value: states.append(value))
        for layer in case.network.encoder.layers
    ]
    without = torch.zeros(len(case.x), dtype=torch.int64)
    hidden = case.network.hidden(case.x, **case.features, with_text=without, real=case.real)
    for hook in hooks:
        hook.remove()
    close(hidden, ref[f"{out}/hidden"], tolerance)
    close(case.codec.logits(hidden[:, :n]), ref[f"{out}/logits"], tolerance)
    for i, value in enumerate(states):
        close(value, ref[f"{out}/encoder_layer{i}"], tolerance)
    if f"{out}/guided_hidden" in ref:
        guided = case.guided(1 + ref.config["cfg_weight"])
        found = guided(case.x, 1, None, **case.features, with_text=case.with_text, real=case.real).x0
        close(found, ref[f"{out}/guided_hidden"][:, :n], tolerance)
        close(case.codec.logits(found), ref[f"{out}/guided_logits"], tolerance)


@every
@both
def test_losses_and_gradients(
    golden: GoldenReader, model: str, dtype: torch.dtype, out: str, tolerance: float
) -> None:
    ref = golden(f"clip-diffusion-lm/{model}")
    case, c = Case(ref, dtype), ref.config
    clean = case.codec.encode(case.ids)
    close(l1(case.x, clean), ref[f"{out}/lossfunc_series_sum_sample_mean"], tolerance)
    close(l1(case.x, clean) * case.x.shape[2] / c["dim"] / 100, ref[f"{out}/lossfunc_series_sum"], tolerance)
    close(l2(case.x, clean), ref[f"{out}/lossfunc_mse_series_mean"], tolerance)
    close(l2(case.x, clean), ref[f"{out}/lossfunc_mse_series_sum"], tolerance)
    far, near, far_words, near_words = golden_loss(ref, case)
    # The *_sum functions divide the sum over captions and levels by the number of captions alone.
    many = c["samples"] if c["loss_func"].endswith("series_sum") else 1
    far = many * far
    rounding = c["rounding_weight"] * (many * far_words + near_words)
    close(far, ref[f"{out}/loss_x_t"], tolerance)
    close(near, ref[f"{out}/loss_x_1"], tolerance)
    close(rounding, ref[f"{out}/loss_rounding"], tolerance)
    total = far + near + rounding
    close(total, ref[f"{out}/loss_total"], tolerance)
    total.backward()
    query = "layer.0.attention.q_lin.weight"
    names = {
        "image_linear.weight": "image.weight",
        f"model.distilbert.transformer.{query}": "encoder.layers.0.attention.query.weight",
        "model.vocab_transform.bias": "transform.bias",
    }
    grads = {name: value.grad for name, value in case.network.named_parameters()}
    for name, value in ref.under(f"{out}/grad").items():
        close(grads[names[name]], value, tolerance)


def golden_loss(ref: Any, case: Case) -> tuple[Tensor, ...]:
    c, tape = ref.config, case.tape
    for _ in range(2 if c["x0_prediction"] else 3):  # drawn by the calls before
        next(tape)
    t = next(tape).flatten().long()
    drawn = [next(tape) for _ in range(2 if c["x0_prediction"] else 3)]
    denoiser, rows = case.denoiser, len(t) * len(case.ids)
    with_text = torch.zeros(rows, dtype=torch.int64)
    if c["cfg_weight"]:
        with_text = (next(tape).flatten() > c["cfg_prob"]).long()
        with_text[0], with_text[1] = 0, 1
        denoiser = case.guided(1 + c["cfg_weight"])
    draws = iter(drawn)
    return losses(
        denoiser,
        case.codec,
        case.ids,
        t,
        lambda like, level: next(draws),
        with_text,
        l1 if c["loss_func"].startswith("series") else l2,
        None if c["x0_prediction"] else c["interval"],
        **case.features,
        real=case.real,
    )


@every
@both
def test_passes(golden: GoldenReader, model: str, dtype: torch.dtype, out: str, tolerance: float) -> None:
    ref = golden(f"clip-diffusion-lm/{model}")
    case, n = Case(ref, dtype), ref.config["length"]
    without = torch.zeros(len(case.x), dtype=torch.int64)
    start = [*ref.under("noise").values()][-1].to(dtype)[:, :n]
    given = {**case.features, "text": torch.zeros_like(case.features["text"])}
    plan = [10, 8, 6, 4, 2, 0]
    with torch.no_grad():
        trajectory = list(reverse(case.denoiser, start, plan, FixedPoint(), with_text=without, **given))
    for step, state, tokens in zip(
        trajectory, ref[f"{out}/passes_states"], ref[f"{out}/passes_tokens"], strict=True
    ):
        close(step.x, state[:, :n], tolerance)
        assert torch.equal(case.codec.decode(step.x), tokens)
    close(case.codec.logits(trajectory[-1].x), ref[f"{out}/passes_logits_last"], tolerance)
    merged = case.codec.decode(trajectory[-1].x).unique_consecutive(dim=-1)
    assert torch.equal(merged, ref[f"{out}/passes_tokens_unique_consecutive"])
    if f"{out}/guided_passes_states" in ref:
        guided = case.guided(1 + ref.config["cfg_weight"])
        with torch.no_grad():
            trajectory = list(
                reverse(
                    guided,
                    case.x,
                    plan[-4:],
                    FixedPoint(),
                    with_text=without + 1,
                    **case.features,
                    real=case.real,
                )
            )
        for step, state in zip(trajectory, ref[f"{out}/guided_passes_states"], strict=True):
            close(step.x, state[:, :n], tolerance)
