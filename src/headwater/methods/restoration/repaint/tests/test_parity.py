"""RePaint against the arrays of its reference code: same weights, same noise, same pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from arrays import Golden, close
from closed_form import Tape
from headwater.core import Diffusion, jumps, through
from headwater.core.timesteps import respaced
from headwater.methods.restoration.repaint.method import RePaint
from headwater.models import Prior, PriorConfig, ProcessConfig


def draws(ref: Golden, plan: list[int], process: Diffusion) -> Iterator[Tensor]:
    """The reference's draws in our order: it draws a step's noise before that of the given pixels."""
    theirs = iter(ref.under("noise/main").values())
    x = next(theirs)
    yield x
    # The reference leaves x_T as drawn; this is the noise with which our control leaves it so, too.
    alpha, sigma = process.scales(process.T)
    yield (x - alpha * ref["in/gt"]) / sigma
    yield next(theirs)
    for t, s in list(pairwise(plan))[1:]:
        noise = next(theirs)
        if s < t:
            yield next(theirs)
        yield noise


@pytest.mark.parametrize("name", ["inpaint", "inpaint_nsample"])
def test_loop_equals_the_reference(
    golden: Callable[[str], Golden], replayed: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    ref = golden(f"repaint/{name}")
    T, jump = ref.config["T"], ref.config["jump"]
    image, known = ref["in/gt"], ref["in/gt_keep_mask"][:, :1] > 0.5
    process, shape = ProcessConfig(T=T), (3, *image.shape[-2:])
    prior = Prior(ref.unet(), PriorConfig({"kind": "adm"}, shape, process, variance="learned_range"))
    start, repeat = jump.get("start_resampling"), jump["n_sample"]
    start = start and start + 1
    method = RePaint(jump["t_T"], jump["jump_length"], jump["jump_n_sample"], start)
    loop = jumps(method.steps, (method.jump, method.resample), repeat=repeat, start=start)
    assert [i - 1 for i in loop] == ref["out/times"].tolist()
    plan = through(loop, respaced(T, ref.config["respacing"]))
    if repeat == 1:
        assert method.plan(T) == plan
    else:  # the reference can also repeat every single step
        monkeypatch.setattr(RePaint, "plan", lambda self, T: plan)
    steps = replayed(Tape(draws(ref, plan, prior.process)))
    filled = method.apply(prior, image, known, device="cpu", progress=False)
    down = [step for step in steps if step.pred]
    close(torch.stack([step.x for step in down]), ref["out/sample"], atol=3e-4)
    close(torch.stack([step.pred.x0 for step in down if step.pred]), ref["out/pred_xstart"], atol=1e-3)
    close(torch.stack([step.x for step in steps if not step.pred]), ref["out/undo"], atol=3e-4)
    close(steps[-1].x, ref["out/final"], atol=1e-4)
    close(filled, ref["out/final"].where(~known, image), atol=1e-4)
