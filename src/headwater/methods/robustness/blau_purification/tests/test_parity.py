"""Blau et al. against arrays of its reference code: noising, each state of the way back, what comes out.

The network is conv(x) + sin(label / 300). The code's table is float32, also where its states are float64; it
draws in every step and multiplies by c, and ours draws only where c is not 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from arrays import Golden, close
from closed_form import F64, Tape, prior_of
from headwater.core import Denoiser, Diffusion, schedule
from headwater.core.loop import Step
from headwater.core.transition import NoiseSource
from headwater.methods.robustness.blau_purification.method import BlauPurification
from headwater.sampling import Run


@pytest.mark.parametrize("eta", [0.0, 0.5])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (F64, 1e-7)])
def test_the_whole_way(
    golden: Callable[[str], Golden],
    replayed: Callable[[NoiseSource], list[Step]],
    eta: float,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    data = golden("blau-purification/ddim")
    stored = data.under(f"{'out' if dtype == torch.float32 else 'out64'}/eta{eta:g}")
    weight, bias = data["w/weight"].to(dtype), data["w/bias"].to(dtype)

    def network(x: Tensor, label: Tensor) -> Tensor:
        return F.conv2d(x, weight, bias, padding=1) + torch.sin(label / 300).view(-1, 1, 1, 1).to(x)

    def draws() -> Iterator[Tensor]:
        every = list(data.under(f"noise/eta{eta:g}").values())
        yield from every if eta else every[:1]

    q = Diffusion.vp(schedule.betas("linear", 1000).float())
    method = BlauPurification(eta=eta)
    assert method.plan(1000) == [0, *(i + 1 for i in reversed(data.config["seq"])), 0]
    steps = replayed(Tape(draws()))
    x = (2 * data["in/x"] - 1).to(dtype)
    run = Run(progress=False, device="cpu")
    purified = method.apply(prior_of(Denoiser(network, q)), x, **run)
    for step, wanted in zip(steps, stored["xs"], strict=True):
        close(step.x, wanted, tolerance)
    for step, wanted in zip(steps[1:], stored["x0"], strict=True):
        assert step.pred is not None
        close(step.pred.x0, wanted, tolerance)
    close((purified + 1) / 2, stored["purified"], tolerance)
