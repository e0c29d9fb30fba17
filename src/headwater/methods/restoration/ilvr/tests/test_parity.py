"""ILVR against the arrays of its reference code: same weights, same draws, same references."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from arrays import Golden, close
from closed_form import Tape
from headwater.controls import Clip
from headwater.core import Ancestral, Denoiser, Diffusion, reverse, schedule
from headwater.core.timesteps import respaced
from headwater.methods.restoration.ilvr.method import Coarse, LowPass


@pytest.mark.parametrize("free", [0, 4])
def test_the_loop(golden: Callable[[str], Golden], free: int) -> None:
    """It draws for the step and then for the reference, which it noises to the timestep before."""
    data = golden("super-resolution/ilvr_model")
    config, reference = data.config, data["in/ref"]
    low_pass = LowPass.of(config["down_N"], (16, 16))
    close(low_pass(reference), data["out/phi_ref"], 1e-6)
    q = Diffusion.vp(schedule.betas("linear", config["T"]))
    plan = respaced(config["T"], config["respacing"])
    tape = Tape(data.under(f"noise/range_t{free}").values())
    start = next(tape.draws)
    control = Coarse(low_pass, reference, q, tape, plan, free, late=True)
    denoiser = Denoiser(data.unet(), q, "eps", "learned_range")
    stored = data.under(f"out/range_t{free}")
    with torch.no_grad():
        steps = list(reverse(denoiser, start, plan, Ancestral("learned"), [Clip(), control], tape))
    close(torch.stack([s.x for s in steps]), stored["sample"], 2e-4)
    close(torch.stack([s.pred.x0 for s in steps if s.pred]), stored["pred_xstart"], 1e-3)
