"""Score-MRI against the arrays of its reference code, with the same weights and draws: Alg. 3, step for step.

In tests/parity: network, loss and masks, and the other algorithms as published.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from arrays import close
from headwater.core import Ancestral, Denoiser
from headwater.core.loop import Step
from headwater.methods.medical.score_mri.method import ScoreMRI
from headwater.methods.medical.shared.scan import Scan
from headwater.nets.wrappers import OnUnitRange
from headwater.operators import Fourier
from headwater.sampling import Run, driver
from score_sde import HIGH, Recorded


def turned(x: Tensor) -> Tensor:
    """To and from images with the origin in a corner, as the reference has those of a single coil."""
    return torch.fft.fftshift(x, (-2, -1))


@pytest.mark.parametrize("out", ["out", "out64"])
def test_complex_images_alg_3(golden: Any, out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Recorded(golden("score-mri/single_coil"), out)
    q, net, mask = run.process(), run.network(), run["in/mask"] > 0.5
    y = Fourier("centred").forward(turned(run["in/images"][:1] * torch.exp(1j * run["in/phase"]))) * mask
    run.close(y * mask.numel() ** 0.5, "complex_kspace", 1e-5)  # ours is orthonormal
    tape = run.tape(28)
    # The reference starts at HIGH times a real draw, ours at the noise of the last timestep.
    first = next(tape) * (HIGH / float(q.sigma[-1])) + 0j
    draws = map(turned, chain([first], map(torch.complex, tape, tape)))
    network: Any = lambda x, label: turned(net(turned(x), label))  # noqa: E731
    prior: Any = SimpleNamespace(
        denoiser=Denoiser(OnUnitRange(network, "score"), replace(q, sigma=2 * q.sigma), "score"),
        noise=SimpleNamespace(stream=lambda seeds: lambda like, t: next(draws)),
    )
    steps, reverse = list[Step](), driver.reverse

    def recorded(*args: Any) -> Iterator[Step]:
        for step in reverse(*args):
            steps.append(step)
            yield step

    monkeypatch.setattr(driver, "reverse", recorded)
    method = ScoreMRI(snr=run.ref.config["snr"], image="complex")
    scan = Scan(y, mask, torch.ones_like(y))
    found = method.sample(prior, scan, Run(device="cpu", progress=False))

    down = [step for step in steps if step.s < step.t]
    wanted = run.ref[f"{out}/complex_x"]
    ends = torch.stack([turned(step.x) for step in down])
    close(ends[:-1], wanted[:-1], (1e-10 if run.double else 1e-4) * float(wanted.abs().max()))
    a, predictor = scan.operator(0.0), Ancestral("large")
    quiet = [a.project(predictor.step(q, step.pred, step.s)[0].mean, y) for step in down if step.pred]
    run.close(turned(torch.stack(quiet)), "complex_x_mean")
    run.close(turned(found), "complex_result")  # our last step adds no noise, as the reference's x_mean
