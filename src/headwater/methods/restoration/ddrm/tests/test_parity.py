"""DDRM against the arrays of its reference code: a denoiser in closed form, the code's own draws.

It draws three times in a step: for all coefficients, for those whose measurement has more noise than the
timestep, for the measured ones. Here one field of pixels serves them all.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from arrays import Golden, close
from closed_form import Exact, Tape
from headwater.core import Diffusion, reverse, schedule
from headwater.methods.restoration.ddrm.method import DDRM, Guide
from headwater.operators import BlockAverage, Masked, Spectral

CASES = [("sr", "0"), ("sr", "0.1"), ("inpainting", "0"), ("inpainting", "0.1"), ("denoising", "0.2")]


def operator(kind: str, data: Golden) -> Spectral:
    if kind == "sr":
        return BlockAverage(data.config["ratio"])
    known = torch.ones(8, 8, 3, dtype=torch.bool)
    if kind == "inpainting":
        known.view(-1)[data["in/missing"]] = False
    return Masked(known.permute(2, 0, 1)[None])


def turned(kind: str, data: Golden, c: Tensor) -> Tensor:
    """V c (1, 3, 8, 8) of the reference's coefficients (192,): measured ones first, then the others."""
    x = torch.zeros(192)
    if kind == "sr":
        r = data.config["ratio"]
        patches = torch.empty(48, r * r)
        patches[:, 0], patches[:, 1:] = c[:48], c[48:].view(48, r * r - 1)
        patches = (patches @ data["out/internal/V_small"].T).view(3, 8 // r, 8 // r, r, r)
        return patches.transpose(2, 3).reshape(1, 3, 8, 8)
    if kind == "denoising":
        return c.view(1, 3, 8, 8)
    kept = torch.ones(192, dtype=torch.bool)
    kept[data["in/missing"]] = False
    x[kept], x[data["in/missing"]] = c[:128], c[128:]
    return x.view(1, 8, 8, 3).permute(0, 3, 1, 2)


@pytest.mark.parametrize(("kind", "sigma"), CASES)
def test_the_loop(golden: Callable[[str], Golden], kind: str, sigma: str) -> None:
    data = golden(f"super-resolution/ddrm_{kind}")
    stored, a = data.under(f"out/sigma{sigma}"), operator(kind, data)
    draws = list(data.under(f"noise/sigma{sigma}").values())[1:]  # the first one is in y
    first, n = draws.pop(0), data.config["traj"]["steps"]
    fields = [
        turned(kind, data, torch.cat([fewer[0], noisier[0, fewer.numel() :], every[0, noisier.numel() :]]))
        for every, fewer, noisier in zip(draws[::3], draws[1::3], draws[2::3], strict=True)
    ]
    ys = turned(kind, data, F.pad(stored["y0"][0], (0, 192 - stored["y0"].numel())))
    q = Diffusion.vp(schedule.betas("linear", 1000))
    traj = data.config["traj"]
    y = stored["y0"].view(1, 3, 4, 4) if kind == "sr" else ys
    guide = Guide(a, a.recovered(y), 2 * float(sigma) / 2, traj["etaA"], traj["etaB"], q)
    plan = DDRM(steps=n).plan(1000)
    exact = Exact(q, data["in/mean"], data["in/std"])
    x = guide.start(torch.empty(1, 3, 8, 8), plan[0], Tape([turned(kind, data, first.flatten())]))
    steps = list(reverse(exact, x, plan, controls=[guide], noise=Tape(fields)))
    end = n if float(sigma) else n - 1  # without noise the code's last step keeps the estimate
    close(x, stored["xs"][0], 0, 1e-4)  # the code starts at x / sigma_T instead of alpha_T x
    for step, xs, x0 in zip(steps[:end], stored["xs"][1:], stored["x0_preds"], strict=False):
        close(step.pred.x0, x0, 1e-3)
        close(step.x, xs, 2e-4)
    close(a.forward(steps[-1].x), y, 1e-5) if not float(sigma) else None
