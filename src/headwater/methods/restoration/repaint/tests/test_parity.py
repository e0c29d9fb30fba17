"""RePaint against the arrays of its reference code: same weights, same noise tape, same pictures."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from headwater.controls import Clip, GivenRegion
from headwater.core import Ancestral, Denoiser, Diffusion, jumps, reverse, schedule, through
from headwater.core.timesteps import respaced
from headwater.nets.adm import UNet, UNetConfig


class Tape:
    """The reference's draws, in its order: for each conditioned step first the step's, then the picture's."""

    def __init__(self, draws: list[Tensor], first: Tensor) -> None:
        self.draws = draws
        self.first: Tensor | None = first
        self.kept: Tensor | None = None

    def step(self, like: Tensor, level: object = 0) -> Tensor:
        draw, self.kept = (self.draws.pop(0) if self.kept is None else self.kept), None
        return draw

    def known(self, like: Tensor, level: object = 0) -> Tensor:
        if self.first is not None:
            draw, self.first = self.first, None
            return draw
        self.kept = self.draws.pop(0)
        return self.draws.pop(0)


@pytest.mark.parametrize("name", ["inpaint", "inpaint_nsample"])
def test_walk_equals_the_reference(golden, name: str) -> None:
    ref = golden(f"repaint/{name}")
    config = ref.config
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in config["net"].items()}
    net = UNet(UNetConfig(**{k: v for k, v in fields.items() if k in UNetConfig.__dataclass_fields__}))
    net.load_state_dict(ref.under("w"), strict=True)
    q = Diffusion.vp(schedule.betas("linear", config["T"]))
    jump = config["jump"]
    loops = [(jump["jump_length"], jump["jump_n_sample"])] if jump["jump_n_sample"] > 1 else []
    start = jump.get("start_resampling")
    walk = jumps(
        jump["t_T"], *loops, repeat=jump.get("n_sample", 1), start=None if start is None else start + 1
    )
    assert [i - 1 for i in walk] == ref["out/times"].tolist()

    draws = list(ref.under("noise/main").values())
    keep = ref["in/gt_keep_mask"][:, :1] > 0.5
    # The reference leaves x_T as drawn; this is the noise with which our control leaves it so, too.
    alpha, sigma = q.scales(q.T)
    tape = Tape(draws[1:], (draws[0] - alpha * ref["in/gt"]) / sigma)
    controls = [GivenRegion(ref["in/gt"], keep, q, tape.known), Clip()]
    denoiser = Denoiser(net.eval(), q, "eps", "learned_range")
    plan = through(walk, respaced(config["T"], config["respacing"]))
    sample, x0, undo = (list(ref[f"out/{k}"]) for k in ("sample", "pred_xstart", "undo"))
    final = None
    with torch.no_grad():
        for step in reverse(denoiser, draws[0], plan, Ancestral("learned"), controls, tape.step):
            if step.pred is None:
                torch.testing.assert_close(step.x, undo.pop(0), atol=3e-4, rtol=0)
            else:
                torch.testing.assert_close(step.x, sample.pop(0), atol=3e-4, rtol=0)
                torch.testing.assert_close(step.pred.x0, x0.pop(0), atol=1e-3, rtol=0)
            final = step.x
    assert not sample
    assert not undo
    torch.testing.assert_close(final, ref["out/final"], atol=1e-4, rtol=0)
