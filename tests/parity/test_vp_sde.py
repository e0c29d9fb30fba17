"""The VP-SDE and its reversal against DiffPure's reference: drift, diffusion, noising, Euler's states.

The network is told what the reference tells it: 999 t as it is (score_sde), or 1000 t rounded down in float32
(guided-diffusion, whose second half of channels is ignored).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from closed_form import Tape
from headwater.core import Denoiser, Diffusion, ReverseSDE, reverse
from headwater.nets.adm import UNet, UNetConfig

F64 = torch.float64
OUT = {torch.float32: "out", F64: "out64"}


class Lin(nn.Module):
    """conv(x) + sin(label / 300)."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        shift = torch.sin(label / 300).reshape(-1, 1, 1, 1).to(x)
        return F.conv2d(x, self.weight, self.bias, padding=1) + shift


def network(ref: Any) -> nn.Module:
    if ref.config["net"] == "lin":
        return Lin(ref["w/conv.weight"], ref["w/conv.bias"])
    c = ref.config
    net = UNet(
        UNetConfig(
            in_channels=3,
            out_channels=6,
            model_channels=c["channels"],
            channel_mult=tuple(c["mult"]),
            num_res_blocks=1,
            attention_resolutions=(c["image_size"] // int(c["attn"]),),
            num_heads=2,
            use_scale_shift_norm=c["ss"],
            resblock_updown=c["updown"],
        )
    )
    net.load_state_dict(ref.under("w"), strict=True)
    return net


def denoiser(ref: Any, taus: Tensor, dtype: torch.dtype, label: Tensor | None = None) -> Denoiser:
    """The network at levels 1.. for descending taus, t = 1 - tau; `label` replaces 999 t."""
    q = Diffusion.vp_sde(1 - taus.double())
    learned = ref.config["net"] != "lin"
    if label is not None:
        q = replace(q, label=torch.cat([torch.zeros(1, dtype=F64), label.double()]))
    return Denoiser(network(ref).to(dtype).eval(), q, "eps", "learned_range" if learned else "fixed")


@pytest.fixture(params=["score_sde", "unet"])
def ref(request: pytest.FixtureRequest, golden: Callable[[str], Any]) -> Any:
    return golden(f"diffpure/{request.param}")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (F64, 1e-10)])
@torch.no_grad()
def test_drift_and_diffusion(ref: Any, dtype: torch.dtype, tolerance: float) -> None:
    out, x = OUT[dtype], ref["in/x"].to(dtype)
    order = ref["in/tau"].argsort(descending=True)
    # The reference's clock is float32 in its float32 run and float64 in the other.
    tau = ref["in/tau"][order] if dtype == torch.float32 else ref["in/tau"].double()[order]
    label = None if ref.config["net"] == "lin" else ref[f"{out}/labels"][order]
    model = denoiser(ref, tau, dtype, label)
    for level, k in enumerate(order.tolist(), 1):
        q = model.process
        assert q.sde is not None
        assert float(q.alpha[level] ** 2) == pytest.approx(
            float(ref[f"{out}/alphas_cumprod_cont"][k]), rel=1e-3 if dtype == torch.float32 else 1e-9
        )
        pred = model(x, level)
        drift = -q.sde.drift[level].to(dtype) * x + q.sde.diffusion[level].to(dtype) * pred.score
        wanted = ref[f"{out}/f_{k}"].view_as(x)
        scale = float(wanted.abs().max())
        # The U-Net normalises and embeds time in float32 whatever its weights are.
        tolerance = max(tolerance, 1e-7) if label is not None else tolerance
        torch.testing.assert_close(drift, wanted, rtol=tolerance, atol=tolerance * scale)
        g = q.sde.diffusion[level].sqrt().to(dtype).expand_as(ref[f"{out}/g_{k}"])
        torch.testing.assert_close(g, ref[f"{out}/g_{k}"], rtol=tolerance, atol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (F64, 1e-12)])
def test_forward_tables_and_noising(ref: Any, dtype: torch.dtype, tolerance: float) -> None:
    out = OUT[dtype]
    betas = torch.linspace(1e-4, 2e-2, 1000, dtype=F64)
    torch.testing.assert_close(betas.to(dtype), ref[f"{out}/discrete_betas"], rtol=1e-6, atol=0)
    q = Diffusion.vp(betas if dtype == F64 else ref["out/discrete_betas"].double())
    bar = q.alpha[1:].square().to(dtype)
    torch.testing.assert_close(
        bar, ref[f"{out}/alphas_cumprod"], rtol=2e-5 if out == "out" else 1e-10, atol=0
    )
    for K in ref.config["levels"]:
        wanted = float(ref[f"{out}/forward_alpha_bar_t{K}"])
        assert float(bar[K - 1]) == pytest.approx(wanted, rel=1e-5 if out == "out" else 1e-10)
    x, e = ref["in/x"].to(dtype), ref["noise/000"].to(dtype)
    noised = q.combine(x, e, ref.config["t_star"])
    torch.testing.assert_close(noised, ref[f"{out}/noised"], rtol=0, atol=10 * tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (F64, 1e-10)])
@torch.no_grad()
def test_euler_states(ref: Any, dtype: torch.dtype, tolerance: float) -> None:
    out = OUT[dtype]
    states = ref[f"{out}/euler_states"]
    intervals = ref[f"{out}/euler_intervals"].double()
    taus = torch.cat([intervals[:, 0], intervals[-1:, 1]]).flip(0)  # ascending in t = 1 - tau
    label = None
    if f"{out}/euler_labels" in ref:
        labels = ref[f"{out}/euler_labels"][1:, 0]  # the first evaluation is repeated
        label = torch.cat([labels[-1:], labels.flip(0)])  # the lowest level is never left
    model = denoiser(ref, taus, dtype, label)
    assert torch.equal(states[0], states[1])
    tolerance = max(tolerance, 1e-7) if label is not None else tolerance
    x = states[0].view_as(ref["in/x"])
    tape = Tape(ref.under("noise")[f"{k:03d}"].view_as(x) for k in range(1, len(intervals) + 1))
    top = len(intervals) + 1
    steps = reverse(model, x, list(range(top, 0, -1)), ReverseSDE(), noise=tape)
    for step, wanted in zip(steps, states[2:], strict=True):
        torch.testing.assert_close(step.x, wanted.view_as(x), rtol=0, atol=tolerance)
