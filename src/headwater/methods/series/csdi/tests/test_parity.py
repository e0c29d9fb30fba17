"""CSDI against the arrays of its reference code: same weights, same draws, same masks, losses and samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from arrays import GOLDEN, Golden, close
from closed_form import Tape
from headwater.atomic import read_json
from headwater.core import descend, last, reverse
from headwater.data.windows import Windows
from headwater.errors import UserError
from headwater.methods.series.csdi.method import FittedCSDI, hide, masked_error
from headwater.nets.csdi import CSDINet, step_table

PUBLISHED = GOLDEN / "csdi"
TINY = ("tiny_quad", "tiny_feature1", "tiny_linear_uncond")


class Fields(Tape):
    """Recorded fields (B, K, L), also in place of uniform numbers and of a generator for each sample."""

    uniform = Tape.__call__

    def __init__(self, draws: list[Tensor]) -> None:
        super().__init__(draws)
        self.generators = [None] * len(draws[0])


def drawn(fitted: FittedCSDI, windows: Windows, draws: list[Tensor]) -> Tensor:
    """Samples of whole windows, (windows, n, K, L), from recorded fields (windows * n, K, L)."""
    tape: Any = Fields(draws)
    with torch.no_grad():
        side = fitted.network.side(windows.times, windows.observed)  # type: ignore[operator]
        start, plan = fitted.start(windows, side, tape), descend(fitted.config.chain.T)
        x = last(reverse(fitted.denoiser, start.x, plan, None, start.controls, tape, **start.conditions))
    return x.unflatten(0, (len(windows.values), -1))


class Reference:
    """One of the files in one precision (`out` or `out64`), with our network at its weights."""

    def __init__(self, arrays: Golden, out: str = "out") -> None:
        self.arrays, self.out = arrays, out
        self.dtype, self.limit = (torch.float32, 1e-5) if out == "out" else (torch.float64, 1e-10)
        weights = arrays.under("w") or load_file(PUBLISHED / "pretrained.safetensors")
        shapes = {name: tuple(value.shape) for name, value in weights.items()}
        sizes = {"length": arrays["in/timepoints"].shape[1], **arrays.config}
        config = FittedCSDI.published(shapes, sizes).config
        self.network = CSDINet(config.network)
        self.network.load_state_dict(weights, strict=True)
        self.fitted = FittedCSDI(self.network.to(self.dtype).eval(), config)
        self.q = self.fitted.denoiser.process
        self.tape = list(arrays.under("noise").values())

    def __getitem__(self, name: str) -> Tensor:
        return self.arrays[f"{self.out}/{name}"]

    def turned(self, name: str) -> Tensor:
        return self.arrays[f"in/{name}"].transpose(1, 2)

    def windows(self, mask: str) -> Windows:
        times = self.arrays["in/timepoints"].to(self.dtype)
        return Windows(self.turned("observed_data").to(self.dtype), self.turned(mask) > 0, times)

    def close(self, found: Tensor, wanted: Tensor, scale: float = 1.0) -> None:
        """Relative to the largest value: 1e-5 in float32, 1e-10 in float64; absolute if that is below 1."""
        close(found, wanted, atol=scale * self.limit, share=scale * self.limit)


def cases(*names: str) -> Any:
    both = [pytest.param((n, out), id=f"{n}-{out}") for n in names for out in ("out", "out64")]
    return pytest.mark.parametrize("ref", both, indirect=True)


@pytest.fixture
def ref(request: pytest.FixtureRequest, golden: Any) -> Reference:
    name, out = request.param
    return Reference(golden(f"csdi/{name}"), out)


@cases(*TINY, "pretrained_run")
def test_the_network(ref: Reference) -> None:
    table, wanted = torch.arange(ref.q.T, dtype=ref.dtype), ref["diffusion_embedding_table"]
    ref.close(step_table(table, wanted.shape[1]), wanted)
    x = ref.windows("gt_mask")
    with torch.no_grad():
        info = ref.network.side_info(x.times, x.observed).permute(0, 3, 1, 2)
        ref.close(info, ref["side_info"])
        side = ref.network.side(x.times, x.observed)
        steps, inputs = (ref.arrays[f"in/{name}"].to(ref.dtype) for name in ("steps", "xin"))
        ref.close(ref.network.diffmodel(inputs.permute(0, 2, 3, 1), steps, side), ref["eps"])


@cases("tiny_quad", "tiny_linear_uncond", "pretrained_run")
def test_the_chain(ref: Reference) -> None:
    torch.testing.assert_close(ref.q.alpha[1:].square(), ref["alpha"], atol=0, rtol=1e-12)


@cases(*TINY, "pretrained_run")
def test_losses_at_given_timesteps(ref: Reference) -> None:
    x, known = ref.windows("observed_mask"), ref.turned("gt_mask") > 0
    for i, t in enumerate(ref.arrays.config["set_t"]):
        with torch.no_grad():
            timesteps = torch.full((len(known),), t + 1)
            loss = masked_error(ref.network, ref.q, x, known, timesteps, ref.tape[i].to(ref.dtype))
        rel = 2e-5 if ref.out == "out" else 1e-9
        assert float(loss) == pytest.approx(float(ref[f"calc_loss_t{t}"]), rel=rel)


@pytest.mark.parametrize("name", TINY)
def test_masks_and_the_training_loss_with_its_gradient(golden: Any, name: str) -> None:
    ref = Reference(golden(f"csdi/{name}"))
    observed, b = ref.turned("observed_mask") > 0, len(ref.turned("observed_mask"))
    at = len(ref.arrays.config["set_t"])

    def hidden(strategy: Any, at: int) -> Tensor:
        """As drawn by the numbers from `at` on: keys, a ratio for each item and, to mix, a coin for each."""
        each = [at + 1 + i * b for i in range(2 if strategy == "mix" else 1)]
        fields: Any = Fields([ref.tape[at], *(torch.stack(ref.tape[i : i + b]) for i in each)])
        return hide(observed, strategy, 0, fields)

    assert torch.equal(hidden("random", at), ref["randmask"] > 0)
    at += 1 + 2 * b
    assert torch.equal(hidden("historical", at), ref["histmask_historical"] > 0)
    assert torch.equal(hidden("mix", at), ref["histmask_mix"] > 0)
    at += 1 + 2 * b
    known = hidden("random", at)
    t, eps = ref.tape[at + 1 + b] + 1, ref.tape[at + 2 + b]
    loss = masked_error(ref.network, ref.q, ref.windows("observed_mask"), known, t, eps)
    loss.backward()
    assert loss.item() == pytest.approx(float(ref["train_loss"]), rel=1e-5)
    layers = ref.network.embed_layer, ref.network.diffmodel.output_projection2
    for layer, stored in zip(layers, ("embed_layer", "output_projection2"), strict=True):
        assert layer.weight.grad is not None
        ref.close(layer.weight.grad, ref[f"grad/{stored}.weight"])


@cases(*TINY)
def test_samples(ref: Reference) -> None:
    """All draws at once, from the tape that the reference read one draw after another."""
    samples, pasted = ref.arrays.config["n_samples"], ref.fitted.config.network.given == "pasted"
    each = ref.q.T * (2 if pasted else 1)
    tape = ref.tape[len(ref.tape) - samples * each :]
    runs = [tape[i * each : (i + 1) * each] for i in range(samples)]
    together = [torch.stack(fields, 1).flatten(0, 1).to(ref.dtype) for fields in zip(*runs, strict=True)]
    found, wanted = drawn(ref.fitted, ref.windows("gt_mask"), together), ref["impute_samples"]
    # The unconditional reference lets given cells drift; they are overwritten before each call in both.
    compared = 1 - ref.turned("gt_mask")[:, None] if pasted else torch.ones_like(wanted)
    ref.close(found * compared, wanted * compared, 10.0)


def test_checkpoints_are_read_strictly(tmp_path: Path, golden: Any) -> None:
    ref = golden("csdi/tiny_quad")
    torch.save(ref.under("w"), tmp_path / "model.pth")
    for change, words in (
        ({"diffusion": {**ref.config["diffusion"], "layers": 3}}, "does not fit"),
        ({"diffusion": {**ref.config["diffusion"], "is_linear": True}}, "linear attention"),
        ({"columns": "ab"}, "columns"),
    ):
        with pytest.raises(UserError, match=words):
            FittedCSDI.from_published(tmp_path / "model.pth", {**ref.config, **change})
    with pytest.raises(UserError, match="YAML"):
        FittedCSDI.from_published(tmp_path / "model.pth", {})


def test_the_published_checkpoint_draws_what_the_reference_drew(golden: Any) -> None:
    config = read_json(PUBLISHED / "pretrained_config.json")
    fitted = FittedCSDI.from_published(PUBLISHED / "pretrained.safetensors", config)
    assert sum(p.numel() for p in fitted.network.parameters()) == 414_065
    held = fitted.config
    assert (len(held.columns), held.chain.T, held.network.given) == (35, 50, "input")
    ref = Reference(golden("csdi/pretrained_run"))
    x = ref.windows("gt_mask")
    first = Windows(x.values[:1], x.observed[:1], x.times[:1])
    draws = [v[:1] for v in ref.tape[-2 * 50 : -50]]  # the first of two draws, of the first of two windows
    ref.close(drawn(fitted, first, draws)[:, 0], ref["impute_samples"][:1, 0], 10.0)
