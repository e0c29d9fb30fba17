"""DPS against the arrays of its reference code: same weights, same draws, one picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from arrays import Golden, close
from closed_form import Tape
from headwater.controls import Clip
from headwater.core import Ancestral, Denoiser, Diffusion, Step, reverse, schedule
from headwater.core.timesteps import respaced
from headwater.methods.restoration.dps.method import Guide
from headwater.operators import Masked, Measurement, Separable


@dataclass(frozen=True, eq=False)
class Mirrored(Measurement):
    """The code's blur: the image goes on beyond an edge as in a mirror."""

    kernel: Tensor

    def forward(self, x: Tensor) -> Tensor:
        reach = len(self.kernel) // 2
        return F.conv2d(
            F.pad(x, [reach] * 4, mode="reflect"), self.kernel.to(x).expand(3, 1, -1, -1), groups=3
        )


class Run:
    """What one of the stored runs needs."""

    def __init__(self, data: Golden, number: int) -> None:
        told, name = data.config["runs"][number], f"run_{number:02d}"
        self.stored, self.plan = data.under(f"out/{name}"), respaced(1000, told["respacing"])
        measurement = {
            "super_resolution": lambda: Separable.bicubic(4, (16, 16)),
            "inpainting": lambda: Masked(data["in/mask"] > 0.5),
            "gaussian_blur": lambda: Mirrored(self.stored["kernel"]),
        }[told["op"]]()
        process = Diffusion.vp(schedule.betas("linear", 1000))
        self.denoiser = Denoiser(data.unet(), process, "eps", "learned_range")
        draws = list(data.under(f"noise/{name}").values())[1:]  # the first one is in y
        self.start, self.draws = draws[0], draws[1::2]  # every second draw is of a kind of guidance not used
        self.controls = [Clip(), Guide(measurement, self.stored["y"], told["scale"])]

    def walk(self, x: Tensor, plan: list[int], draws: list[Tensor]) -> list[Step]:
        return list(reverse(self.denoiser, x, plan, Ancestral("learned"), self.controls, Tape(draws)))


@pytest.mark.parametrize("number", [0, 2])
def test_the_loop(golden: Callable[[str], Golden], number: int) -> None:
    run = Run(golden("super-resolution/dps"), number)
    steps = run.walk(run.start, run.plan, run.draws)
    close(torch.stack([s.x for s in steps]), run.stored["x"], 2e-4)
    close(torch.stack([s.pred.x0 for s in steps if s.pred]), run.stored["x0_hat"], 1e-3)


@pytest.mark.parametrize("number", range(3))
def test_each_step_from_where_the_code_was(golden: Callable[[str], Golden], number: int) -> None:
    """In the second run rounding moves a pixel of the first estimate, from noise that is nearly pure, across
    the limit where its gradient ends; its loop goes another way from there."""
    run = Run(golden("super-resolution/dps"), number)
    for k, x in enumerate([run.start, *run.stored["x"][:-1]]):
        (step,) = run.walk(x, run.plan[k : k + 2], run.draws[k:])
        close(step.x, run.stored["x"][k], 1e-3 if k == 0 else 2e-4)
