"""DiffuseRecon against the arrays of its reference code, with the same weights and draws.

The code puts predicted noise into k-space; what the paper says, fresh noise, is tested on the code's own
functions for it. Its k-space has its origin in the corner and is not normalised.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from arrays import Golden, Precise, close
from closed_form import Tape
from headwater.controls import Clip
from headwater.core import Denoiser, Diffusion, schedule
from headwater.core.loop import Step
from headwater.core.transition import NoiseSource
from headwater.methods.medical.diffuse_recon.method import DiffuseRecon, Guided
from headwater.methods.medical.shared.scan import Measured
from headwater.nets.adm import UNet, UNetConfig
from headwater.nets.wrappers import complex_channels, real_channels
from headwater.noise import White
from headwater.operators import Fourier, Sampled
from headwater.sampling import Run

Read = Callable[[str], Golden]
PRECISIONS = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
TRAJECTORY = {torch.float32: 2e-4, torch.float64: 1e-9}


@pytest.fixture(autouse=True)
def _sinusoids(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference in float64 takes sinusoids in float64 too, of frequencies in float32."""

    def embedding(timesteps: Tensor, dim: int) -> Tensor:
        rates = torch.exp(-math.log(10000.0) * torch.arange(dim // 2, dtype=torch.float32) / (dim // 2))
        angles = timesteps[:, None] * rates.to(timesteps)
        return torch.cat([angles.cos(), angles.sin()], -1)

    monkeypatch.setattr("headwater.nets.adm.timestep_embedding", embedding)


class Reference:
    """What the arrays were made with: network, chain, k-space."""

    def __init__(self, golden: Read, dtype: torch.dtype) -> None:
        self.data = data = Precise(golden("diffuse-recon/tiny"), dtype)
        c = data.config
        shape = UNetConfig(
            in_channels=4, out_channels=4, model_channels=c["channels"], channel_mult=tuple(c["mult"]),
            num_res_blocks=c["blocks"], attention_resolutions=tuple(c["attn_ds"]), num_heads=c["heads"],
            num_head_channels=-1, use_scale_shift_norm=True, resblock_updown=False,
        )  # fmt: skip
        self.network = UNet(shape)
        self.network.load_state_dict(data.golden.under("w"), strict=True)
        self.network = self.network.eval().to(dtype)
        told = torch.arange(c["T"], dtype=torch.float64) * 1000 / c["T"]
        self.process = Diffusion.vp(schedule.betas("cosine", c["T"]), told)
        self.method = DiffuseRecon(
            1, steps=int(c["coarse"]), refine_chain=int(c["refine"]), noise="predicted"
        )
        self.operator = Sampled(Fourier("plain"), data["in/mask"] > 0.5)
        self.y = complex_channels(data.stored("kspace"))

    @property
    def prior(self) -> Any:
        denoiser = Denoiser(self.network, self.process, "eps")
        return SimpleNamespace(shape=(4, 32, 32), denoiser=denoiser, noise=White(), controls=[Clip()])

    def tape(self) -> Tape:
        return Tape(complex_channels(self.data[f"noise/{i:03d}"]) for i in range(31))


@PRECISIONS
def test_the_network_and_the_measured_part(golden: Read, dtype: torch.dtype) -> None:
    it = Reference(golden, dtype)
    data = it.data
    with torch.no_grad():
        data.close(it.network(data["in/x"], data["in/t_embed"]), "eps")
    data.close(real_channels(it.operator.forward(complex_channels(data["in/img"]))), "kspace")


def test_the_timesteps_of_both_chains(golden: Read) -> None:
    it = Reference(golden, torch.float64)
    coarse, refine = it.method.plans(it.process)
    whole = DiffuseRecon(refine_steps=500).plans(it.process)[1]
    for name, plan in (("coarse", coarse), ("refine", whole)):
        up = plan[-2::-1]
        assert [t - 1 for t in up] == it.data.stored(f"{name}_timestep_map").tolist()
        close(it.process.alpha[up].square(), it.data.stored(f"{name}_alphas_cumprod"), 1e-12)
    assert whole[-21:] == refine
    assert float(it.process.alpha[refine[0]] ** 2) == pytest.approx(0.99497, abs=1e-5)


@PRECISIONS
def test_fresh_noise_in_k_space(golden: Read, dtype: torch.dtype) -> None:
    it = Reference(golden, dtype)
    data, (plan, _) = it.data, it.method.plans(it.process)
    x = complex_channels(data["in/x"])
    guide = Guided(it.operator, it.y, it.process, Tape([x]))
    noisy = complex_channels(data.stored("q_sample_fft_duo_t3"))
    transform = Fourier("plain")
    wanted = transform.pseudo_inverse(torch.where(it.operator.mask, noisy, transform.forward(x)))
    data.close(real_channels(guide.after(x, plan[-2 - 3], 6)), real_channels(wanted))
    data.close(real_channels(guide.after(x, 0, 9)), "mixture_duo")


@PRECISIONS
def test_coarse_and_refined(
    golden: Read, dtype: torch.dtype, replayed: Callable[[NoiseSource], list[Step]]
) -> None:
    it = Reference(golden, dtype)
    data, tolerance = it.data, TRAJECTORY[dtype]
    steps, run = replayed(it.tape()), Run(device="cpu", progress=False)
    scan = Measured(it.y, it.operator)
    coarse = it.method._coarse(it.prior, scan, run, lambda row: (row,))  # pyright: ignore[reportPrivateUsage]
    walked = torch.stack([real_channels(step.x) for step in steps])
    data.close(walked, "coarse_trajectory", tolerance)
    data.close(real_channels(coarse.mean(1)), "refine_start", tolerance)

    steps.clear()
    start: Tensor = complex_channels(data.stored("refine_start"))
    end = it.method._refined(it.prior, scan, start, run)  # pyright: ignore[reportPrivateUsage]
    ends = [real_channels(steps[i].x) for i in (0, 4, 8, 12, 16)] + [real_channels(end)]
    data.close(torch.stack(ends), "refine_trajectory", tolerance)
