"""SR3 against the arrays of its reference code: same weights, same draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from arrays import Golden, close
from closed_form import Tape
from headwater.core.denoiser import Error
from headwater.core.schedule import linear, scaled_linear
from headwater.methods.restoration.shared.pictured import Betas, PicturedConfig, draw_pictured
from headwater.methods.restoration.sr3.method import FittedSR3
from headwater.metrics.image import psnr
from headwater.nets.level_unet import LevelUNet, infer_level_unet
from headwater.sampling import Run
from headwater.training.timesteps import at, between


@pytest.fixture
def data(golden: Callable[[str], Golden]) -> Golden:
    return golden("super-resolution/sr3_model")


@pytest.fixture
def fitted(data: Golden) -> FittedSR3:
    weights, config = data.under("w"), data.config
    schedule = config["schedule"]
    betas = Betas(schedule["n_timestep"], schedule["linear_start"], schedule["linear_end"])
    sizes = infer_level_unet({k: tuple(v.shape) for k, v in weights.items()}, config["net"]["norm_groups"])
    network = LevelUNet(sizes)
    network.load_state_dict(weights, strict=True)
    return FittedSR3(network.eval(), PicturedConfig(sizes, (3, 16, 16), betas))


def test_the_network_and_what_it_is_told(data: Golden, fitted: FittedSR3) -> None:
    levels = torch.tensor(data.config["levels"])
    close(fitted.network.noise_level_mlp(levels), data["out/noise_level_embedding"][:, 0], 2e-5)
    for level in data.config["levels"]:
        with torch.no_grad():
            out = fitted.network(data["in/xt"], torch.full((2,), level), data["in/SR"])
        close(out, data[f"out/forward/level{level}"], 2e-5)


def test_the_chain(data: Golden, fitted: FittedSR3) -> None:
    close(fitted.config.betas.signal(), data["out/sqrt_alphas_cumprod_prev"], rtol=1e-12)
    q = fitted.denoiser.process
    for i in (0, 5):
        label = torch.full((2,), float(q.label[i + 1]))
        with torch.no_grad():
            pred = fitted.denoiser(data["in/xt"], i + 1, features=data["in/SR"])
        assert float(pred.label[0]) == pytest.approx(float(label[0]))
        clipped = pred.x0.clamp(-1, 1)
        close(
            q.posterior(data["in/xt"], clipped, i + 1, i).mean, data[f"out/p_mean_variance/t{i}/mean"], 2e-4
        )


@pytest.mark.parametrize("error", ["l1", "l2"])
def test_the_loss_at_the_levels_drawn(data: Golden, fitted: FittedSR3, error: Error) -> None:
    """One timestep for the batch, as there; the sum of what is the mean here."""
    u, places = (data[f"noise/p_losses_{error}/{i:03d}"] for i in (0, 1))
    T = fitted.config.betas.T
    t = at(u.reshape(1).double(), T).expand(2)
    assert int(t[0]) == int(data[f"out/p_losses/{error}/t"])
    levels = between(fitted.config.betas.signal(), t, places.double())
    # numpy's uniform goes from the first of its two ends to the second, as `between` does.
    close(levels, data[f"out/p_losses/{error}/levels"], rtol=1e-6)
    here = replace(fitted.denoiser, error=error, process=fitted.config.process(levels))
    with torch.no_grad():
        loss = here.loss(data["in/HR"], torch.tensor([1, 2]), data["in/eps"], features=data["in/SR"])
    total = loss.mean() * data["in/HR"].numel()
    close(total, data[f"out/p_losses/{error}/loss"], rtol=1e-5)


def test_the_loop(data: Golden, fitted: FittedSR3, replayed: Callable[[Any], list[Any]]) -> None:
    """Noise for every step but the last, all pictures of the batch."""
    stored = data["out/super_resolution/all"]
    draws = [*data.under("noise/super_resolution").values(), torch.zeros(2, 3, 16, 16)]
    steps = replayed(Tape(draws))
    found = draw_pictured(
        fitted, data["in/SR"], fitted.config.betas, fitted.config.betas.T, Run(progress=False)
    )
    close(torch.stack([step.x for step in steps]), stored[1:], 2e-4)
    close(found, stored[-1], 2e-4)


def test_schedules(golden: Callable[[str], Golden]) -> None:
    data = golden("super-resolution/sr3_schedules")
    for T, start, end in data.config["sets"]:
        close(linear(T, start, end), data[f"out/linear/{T}_{start}_{end}"], rtol=1e-12)
        close(scaled_linear(T, start, end), data[f"out/quad/{T}_{start}_{end}"], rtol=1e-12)


def test_metrics_on_bytes(golden: Callable[[str], Golden]) -> None:
    data = golden("super-resolution/sr3_metrics")

    def unit(name: str) -> Tensor:
        return data[name].permute(2, 0, 1)[None].double() / 127.5 - 1

    close(psnr(unit("in/a"), unit("in/b"))[0], data["out/psnr"], rtol=1e-9)
