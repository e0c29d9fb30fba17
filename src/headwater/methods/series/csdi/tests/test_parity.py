"""CSDI against the arrays of its reference code: same weights, same draws, same masks, losses and samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from arrays import GOLDEN
from headwater.atomic import read_json
from headwater.core import descend, last, reverse
from headwater.errors import UserError
from headwater.methods.series.csdi.data import Windows, hide
from headwater.methods.series.csdi.method import FittedCSDI, masked_error
from headwater.metrics import series as metrics
from headwater.nets.csdi import CSDINet, step_table
from headwater.noise import Stream

PUBLISHED = GOLDEN / "csdi"
TINY = ("tiny_quad", "tiny_feature1", "tiny_linear_uncond")
F32, F64 = (torch.float32, "out"), (torch.float64, "out64")


class Tape(Stream):
    """Recorded fields (B, K, L), one per call, instead of generators."""

    __slots__ = ("fields",)

    def __init__(self, fields: list[Tensor]) -> None:
        self.fields = list(fields)
        self.generators = (None,) * len(fields[0])  # type: ignore[assignment]

    def __call__(self, like: Tensor, level: Any = 0) -> Tensor:
        return self.fields.pop(0).to(like)

    uniform = __call__


def drawn(fitted: FittedCSDI, windows: Windows, side: Any, tape: Tape) -> Tensor:
    """Draws of whole windows, (windows, n, K, L), from the noise of a tape."""
    start, plan = fitted.start(windows, side, tape), descend(fitted.config.chain.T)
    x = last(reverse(fitted.denoiser, start.x, plan, None, start.controls, tape, **start.conditions))
    return x.unflatten(0, (len(windows.values), -1))


class Reference:
    """One of the files, with our network at its weights."""

    def __init__(self, arrays: Any, dtype: torch.dtype) -> None:
        self.arrays, self.dtype = arrays, dtype
        weights = arrays.under("w") or load_file(PUBLISHED / "pretrained.safetensors")
        shapes = {name: tuple(value.shape) for name, value in weights.items()}
        sizes = {"length": arrays["in/timepoints"].shape[1], **arrays.config}
        config = FittedCSDI.published(shapes, sizes).config
        self.network = CSDINet(config.network)
        self.network.load_state_dict(weights, strict=True)
        self.fitted = FittedCSDI(self.network.to(dtype).eval(), config)
        self.q = self.fitted.denoiser.process
        self.tape = list(arrays.under("noise").values())

    def turned(self, name: str) -> Tensor:
        return self.arrays[f"in/{name}"].transpose(1, 2)

    def windows(self, seen: str) -> Windows:
        times = self.arrays["in/timepoints"].to(self.dtype)
        return Windows(self.turned("observed_data").to(self.dtype), self.turned(seen) > 0, times)


def cases(*names: str) -> list[Any]:
    return [pytest.param((n, *d), id=f"{n}-{d[1]}") for n in names for d in (F32, F64)]


@pytest.fixture
def case(request: pytest.FixtureRequest, golden: Any) -> tuple[Reference, str]:
    name, dtype, out = request.param
    return Reference(golden(f"csdi/{name}"), dtype), out


def close(found: Tensor, wanted: Tensor, dtype: torch.dtype, scale: float = 1.0) -> None:
    """Relative to the largest value: 1e-5 in float32, 1e-10 in float64."""
    limit = (1e-5 if dtype == torch.float32 else 1e-10) * scale * max(1.0, float(wanted.abs().max()))
    torch.testing.assert_close(found.double(), wanted.double(), atol=limit, rtol=0)


@pytest.mark.parametrize("case", cases(*TINY, "pretrained_run"), indirect=True)
def test_the_network(case: tuple[Reference, str]) -> None:
    ref, out = case
    table = torch.arange(ref.q.T, dtype=ref.dtype)
    wanted = ref.arrays[f"{out}/diffusion_embedding_table"]
    close(step_table(table, wanted.shape[1]), wanted, ref.dtype)
    with torch.no_grad():
        times, known = ref.arrays["in/timepoints"].to(ref.dtype), ref.turned("gt_mask") > 0
        info = ref.network.side_info(times, known).permute(0, 3, 1, 2)
        close(info, ref.arrays[f"{out}/side_info"], ref.dtype)
        side = ref.network.side(times, known)
        steps = ref.arrays["in/steps"].to(ref.dtype)
        inputs = ref.arrays["in/xin"].to(ref.dtype).permute(0, 2, 3, 1)
        close(ref.network.diffmodel(inputs, steps, side), ref.arrays[f"{out}/eps"], ref.dtype)


@pytest.mark.parametrize("case", cases("tiny_quad", "tiny_linear_uncond", "pretrained_run"), indirect=True)
def test_the_chain(case: tuple[Reference, str]) -> None:
    ref, out = case
    torch.testing.assert_close(ref.q.alpha[1:].square(), ref.arrays[f"{out}/alpha"], atol=0, rtol=1e-12)


@pytest.mark.parametrize("case", cases(*TINY, "pretrained_run"), indirect=True)
def test_losses_at_given_timesteps(case: tuple[Reference, str]) -> None:
    ref, out = case
    x, known = ref.windows("observed_mask"), ref.turned("gt_mask") > 0
    for i, t in enumerate(ref.arrays.config["set_t"]):
        with torch.no_grad():
            levels = torch.full((len(known),), t + 1)
            loss = masked_error(ref.network, ref.q, x, known, levels, ref.tape[i].to(ref.dtype))
        assert float(loss) == pytest.approx(
            float(ref.arrays[f"{out}/calc_loss_t{t}"]), rel=2e-5 if out == "out" else 1e-9
        )


@pytest.mark.parametrize("name", TINY)
def test_masks_and_the_training_loss_with_its_gradient(golden: Any, name: str) -> None:
    ref = Reference(golden(f"csdi/{name}"), torch.float32)
    observed, b = ref.turned("observed_mask") > 0, len(ref.turned("observed_mask"))
    at = len(ref.arrays.config["set_t"])

    def hidden(strategy: Any, at: int) -> Tensor:
        """As drawn by the numbers from `at` on: keys, a ratio for each item and, to mix, a coin for each."""
        each = [at + 1 + i * b for i in range(2 if strategy == "mix" else 1)]
        drawn = [torch.stack(ref.tape[first : first + b]) for first in each]
        return hide(observed, strategy, 0, Tape([ref.tape[at], *drawn]))

    assert torch.equal(hidden("random", at), ref.arrays["out/randmask"] > 0)
    at += 1 + 2 * b
    assert torch.equal(hidden("historical", at), ref.arrays["out/histmask_historical"] > 0)
    assert torch.equal(hidden("mix", at), ref.arrays["out/histmask_mix"] > 0)
    at += 1 + 2 * b
    known = hidden("random", at)
    t, eps = ref.tape[at + 1 + b] + 1, ref.tape[at + 2 + b]
    loss = masked_error(ref.network, ref.q, ref.windows("observed_mask"), known, t, eps)
    loss.backward()
    assert loss.item() == pytest.approx(float(ref.arrays["out/train_loss"]), rel=1e-5)
    assert ref.network.embed_layer.weight.grad is not None
    close(ref.network.embed_layer.weight.grad, ref.arrays["out/grad/embed_layer.weight"], torch.float32)
    grad = ref.network.diffmodel.output_projection2.weight.grad
    close(grad, ref.arrays["out/grad/output_projection2.weight"], torch.float32)


def sampled(ref: Reference) -> Tensor:
    """All draws at once, from the tape that the reference read one draw after another; (B, S, K, L)."""
    samples, T = ref.arrays.config["n_samples"], ref.q.T
    each = T + (T if ref.fitted.config.network.given == "pasted" else 0)
    tape = ref.tape[len(ref.tape) - samples * each :]
    runs = [tape[i * each : (i + 1) * each] for i in range(samples)]
    together = [torch.stack(fields, 1).flatten(0, 1).to(ref.dtype) for fields in zip(*runs, strict=True)]
    windows = ref.windows("gt_mask")
    with torch.no_grad():
        side = ref.network.side(windows.times, windows.observed)
        return drawn(ref.fitted, windows, side, Tape(together))


@pytest.mark.parametrize("case", cases(*TINY), indirect=True)
def test_samples_and_their_scores(case: tuple[Reference, str]) -> None:
    ref, out = case
    found, wanted = sampled(ref), ref.arrays[f"{out}/impute_samples"]
    # The unconditional reference lets given cells drift; they are overwritten before each call in both.
    whole = ref.fitted.config.network.given == "input"
    free = torch.ones_like(wanted) if whole else 1 - ref.turned("gt_mask")[:, None]
    close(found * free, wanted * free, ref.dtype, 10.0)
    target = ref.turned("observed_data").numpy()
    where = ref.arrays[f"{out}/eval_target_mask"].numpy()
    draws = wanted.transpose(0, 1).double().numpy()  # drifted cells enter its sums
    spread = metrics.quantiles(draws, positions="linear")
    rel = 1e-5 if out == "out" else 1e-7
    assert metrics.crps(spread, target, where) == pytest.approx(float(ref.arrays[f"{out}/crps"]), rel=rel)
    total = metrics.crps_sum(draws, target, where, axis=1)
    assert total == pytest.approx(float(ref.arrays[f"{out}/crps_sum"]), rel=10 * rel)
    # The reference scores the lower of two middle draws.
    lower = np.sort(draws, 0)[(len(draws) - 1) // 2]
    assert metrics.mae(lower, target, where) == pytest.approx(float(ref.arrays[f"{out}/mae"]), rel=rel)
    assert metrics.rmse(lower, target, where) == pytest.approx(float(ref.arrays[f"{out}/rmse"]), rel=rel)


@pytest.mark.parametrize("out", ["out", "out64"])
def test_metrics(golden: Any, out: str) -> None:
    ref = golden("csdi/metrics")
    mean, scale = ref["in/mean"].double().numpy(), ref["in/scale"].double().numpy()
    draws, target = ref["in/forecast"].double().transpose(0, 1).numpy(), ref["in/target"].double().numpy()
    where, rel = ref["in/eval_points"].numpy(), 1e-5 if out == "out" else 1e-7
    plain = metrics.crps(metrics.quantiles(draws, positions="linear"), target, where)
    assert plain == pytest.approx(float(ref[f"{out}/crps_unscaled"]), rel=rel)
    losses = [metrics.quantile_loss(draws[0], target, where, q) for q in (0.05, 0.5, 0.95)]
    assert losses == pytest.approx(ref[f"{out}/quantile_loss"].tolist(), rel=rel)
    draws, target = draws * scale + mean, target * scale + mean
    scaled = metrics.crps(metrics.quantiles(draws, positions="linear"), target, where)
    assert scaled == pytest.approx(float(ref[f"{out}/crps"]), rel=rel)
    summed = metrics.crps_sum(draws, target, where)
    assert summed == pytest.approx(float(ref[f"{out}/crps_sum"]), rel=rel)


def test_checkpoints_are_read_strictly(tmp_path: Path, golden: Any) -> None:
    ref = golden("csdi/tiny_quad")
    torch.save(ref.under("w"), tmp_path / "model.pth")
    deeper = {**ref.config, "diffusion": {**ref.config["diffusion"], "layers": 3}}
    linear = {**ref.config, "diffusion": {**ref.config["diffusion"], "is_linear": True}}
    named = {**ref.config, "columns": "ab"}
    for config, words in (
        (deeper, "does not fit"), (linear, "linear attention"), ({}, "YAML"), (named, "columns")
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            FittedCSDI.from_published(tmp_path / "model.pth", config)


def test_the_published_checkpoint_draws_what_the_reference_drew(golden: Any) -> None:
    config = read_json(PUBLISHED / "pretrained_config.json")
    fitted = FittedCSDI.from_published(PUBLISHED / "pretrained.safetensors", config)
    assert sum(p.numel() for p in fitted.network.parameters()) == 414_065
    held = fitted.config
    assert (len(held.columns), held.chain.T, held.network.given) == (35, 50, "input")
    ref = Reference(golden("csdi/pretrained_run"), torch.float32)
    x = ref.windows("gt_mask")
    first = Windows(x.values[:1], x.observed[:1], x.times[:1])
    draws = [v[:1] for v in ref.tape[-2 * 50 : -50]]  # the first of two draws, of the first of two windows
    with torch.no_grad():
        found = drawn(fitted, first, fitted.network.side(first.times, first.observed), Tape(draws))
    close(found[:, 0], ref.arrays["out/impute_samples"][:1, 0], torch.float32, 10.0)
