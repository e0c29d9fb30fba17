"""ADP against arrays of its reference code: both network inputs of each step, lengths, states, and the loss.

The code moves x to its network's grid once, back after every step, and never there again; finished pictures
are moved too. Noise and a control do so here. The scores are in closed form, of pictures in [0, 1]. States
are compared with the code's float64 run: its own float32 run is up to 4.6e-5 from that, since
1 - <g, g'> / <g, g> cancels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from arrays import Golden, Precise, close
from closed_form import F64, Tape, prior_of
from headwater.core import Control, Denoiser, Diffusion, Gaussian, Prediction
from headwater.core.loop import Step
from headwater.core.transition import NoiseSource, Transition
from headwater.methods.robustness.adp.method import ADP
from headwater.models import Prior
from headwater.noise import Stream
from headwater.sampling import Run


@pytest.fixture(params=[torch.float32, F64])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


def field(data: Precise, x: Tensor) -> Tensor:
    """f of the README, at x in [0, 1]."""
    mu, c = data["in/mu"], data.config
    if c["score"] == "linear":
        return data["in/s"] * (mu[0] - x)
    gap = mu[None] - x[:, None]
    shares = (-gap.flatten(2).square().sum(2) / (2 * c["var"])).softmax(1)
    return c["gain"] * (shares[..., None, None, None] * gap).sum(1) / c["var"]


class Ungridded(Control):
    """What the code does to every picture after its step: back from the grid, and clipped."""

    def __init__(self) -> None:
        self.calls = 0

    def transition(self, dist: Transition, pred: Prediction, s: int) -> Transition:
        assert isinstance(dist, Gaussian)
        self.calls += 1
        if self.calls % 2:  # the probe
            return dist
        return replace(dist, mean=(dist.mean * 256 / 255 - 1 / 510).clamp(0, 1))


@dataclass(frozen=True)
class OfTheCode(ADP):
    """ADP with the code's map of states."""

    def controls(self, prior: Prior, x: Tensor, noise: Stream) -> list[Control]:
        return [Ungridded()]


def noise(data: Precise) -> Tape:
    """The code's first draw, such that x is noised, clipped and moved to the grid."""
    x, c = data["in/x"], data.config
    begun = (x + c["level"] * data["noise/000"]).clamp(0, 1) * 255 / 256 + 1 / 512
    return Tape([(begun - x) / c["level"]])


@pytest.mark.parametrize("name", ["linear", "mixture", "mixture_stopping"])
def test_every_step(
    golden: Callable[[str], Golden],
    replayed: Callable[[NoiseSource], list[Step]],
    name: str,
    dtype: torch.dtype,
) -> None:
    data = Precise(golden(f"adp/{name}"), dtype)
    c, steps = data.config, replayed(noise(data))
    sigmas = torch.tensor([0.1, 0.2, 0.5, 1.0], dtype=F64)
    denoiser = Denoiser(lambda x, label: -field(data, (x + 1) / 2), Diffusion.ve(sigmas), "eps")
    method = OfTheCode(c["level"], c["iters"], c["lam"], stop=c["stop"])
    purified = method.apply(prior_of(denoiser), 2 * data["in/x"] - 1, **Run(progress=False, device="cpu"))
    inputs, images = data.golden["out64/net_inputs"], data.golden["out64/images"]
    tolerance = 5e-5 if dtype == torch.float32 else 1e-7
    for step, wanted in zip(steps, inputs, strict=False):
        assert step.pred is not None
        close(step.pred.x, wanted, tolerance)
    ends = [step.x for step in steps[1::2]]
    for end, wanted in zip(ends, images[1:], strict=False):
        close(end, wanted, tolerance)
    if len(ends) > len(images) - 1:  # the code ends its loop where all pictures are finished
        close(ends[len(images) - 1], (images[-1] * 256 / 255 - 1 / 510).clamp(0, 1), tolerance)
    torch.testing.assert_close((purified + 1) / 2, ends[-1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["linear", "mixture", "mixture_stopping"])
def test_every_length(golden: Callable[[str], Golden], name: str, dtype: torch.dtype) -> None:
    data = Precise(golden(f"adp/{name}"), dtype)
    c, relative = data.config, 1e-3 if dtype == torch.float32 else 1e-7
    method = ADP(c["level"], c["iters"], c["lam"], stop=c["stop"])
    at, probes = data.stored("net_inputs").unflatten(0, (-1, 2)).unbind(1)
    for x, probe, wanted in zip(at, probes, data.stored("step_sizes"), strict=False):
        found = method.lengths(field(data, x), field(data, probe))
        close(found * (found > method.stop), wanted, rtol=relative)


def test_the_loss_is_that_of_a_prior_of_noise(golden: Callable[[str], Golden], dtype: torch.dtype) -> None:
    data = Precise(golden("adp/linear"), dtype)
    sigmas, order = data["in/sigmas"].to(F64).sort()
    labels = order.argsort()[data["in/labels"]] + 1

    def network(x: Tensor, label: Tensor) -> Tensor:
        return -data["in/s"] * (data["in/mu"][0] - x)

    losses = Denoiser(network, Diffusion.ve(sigmas)).loss(data["in/x"], labels, data["noise/001"])
    data.close(losses.mean() * data["in/x"][0].numel() / 2, "dsm_loss")
    data.close(field(data, data["in/x"]), "score_at_x")
