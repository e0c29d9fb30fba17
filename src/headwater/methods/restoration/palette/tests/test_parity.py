"""Palette against the arrays of its reference code, whose masks are 1 in the hole: same weights and draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from arrays import Golden, close
from closed_form import Tape
from headwater.controls import GivenRegion
from headwater.core import Denoiser
from headwater.core.schedule import cosine, linear, reciprocal, scaled_linear
from headwater.methods.restoration.palette.method import FittedPalette
from headwater.methods.restoration.shared.pictured import Betas, draw_pictured, sized_error
from headwater.models.filling import fill
from headwater.nets.adm_blocks import timestep_embedding
from headwater.sampling import Run
from headwater.training.timesteps import at, between


@pytest.fixture
def data(golden: Callable[[str], Golden]) -> Golden:
    return golden("palette/model")


def betas(data: Golden, phase: str) -> Betas:
    said = data.config["beta_schedule"][phase]
    return Betas(said["n_timestep"], said["linear_start"], said["linear_end"])


@pytest.fixture
def fitted(data: Golden) -> FittedPalette:
    weights, train = data.under("w"), data.config["beta_schedule"]["train"]
    settings = {**train, "image_size": 16, "num_head_channels": data.config["net"]["num_head_channels"]}
    layout = FittedPalette.published({k: tuple(v.shape) for k, v in weights.items()}, settings)
    made = FittedPalette.fresh(layout.config, 0)
    fill(made.root(), {layout.name(k) or k: v for k, v in weights.items()})
    made.network.eval()
    return made


def test_the_network_and_what_it_is_told(data: Golden, fitted: FittedPalette) -> None:
    levels = torch.tensor(data.config["gammas"])
    close(timestep_embedding(levels, 32), data["out/gamma_embedding"], 2e-5)
    for gamma in data.config["gammas"]:
        with torch.no_grad():
            out = fitted.network(data["in/yt"], torch.full((2,), gamma), features=data["in/cond"])
        close(out, data[f"out/forward/gamma{gamma}"], 2e-5)


@pytest.mark.parametrize("phase", ["train", "test"])
def test_the_chains(data: Golden, fitted: FittedPalette, phase: str) -> None:
    """Float32 there; the logarithm of a variance that is 0 is that of 1e-20."""
    chain = betas(data, phase)
    q, (one, zero) = fitted.along(chain).process, torch.eye(2, dtype=torch.float64)[:, :1]
    close(q.label[1:], data[f"out/{phase}/gammas"], rtol=1e-6)
    close(q.alpha[1:].reciprocal(), data[f"out/{phase}/sqrt_recip_gammas"], rtol=1e-6)
    close(q.sigma[1:] / q.alpha[1:], data[f"out/{phase}/sqrt_recipm1_gammas"], rtol=1e-6)
    for name, of in (
        ("mean_coef1", lambda t: q.posterior(zero, one, t, t - 1).mean),
        ("mean_coef2", lambda t: q.posterior(one, zero, t, t - 1).mean),
        (
            "log_variance_clipped",
            lambda t: (q.posterior(one, one, t, t - 1).std ** 2 + zero).clamp(1e-20).log(),
        ),
    ):
        found = torch.cat([of(t) for t in range(1, chain.T + 1)])
        close(found, data[f"out/{phase}/posterior_{name}"], rtol=1e-6, atol=1e-9)


def test_a_step(data: Golden, fitted: FittedPalette) -> None:
    here = fitted.along(betas(data, "test"))
    for i in (0, 5, 9):
        with torch.no_grad():
            x0 = here(data["in/yt"], i + 1, features=data["in/cond"]).x0.clamp(-1, 1)
        mean = here.process.posterior(data["in/yt"], x0, i + 1, i).mean
        close(mean, data[f"out/p_mean_variance/t{i}/mean"], 2e-4)


@pytest.mark.parametrize("run", ["masked", "unmasked", "masked_given_noise"])
def test_the_loss_at_the_levels_drawn(data: Golden, fitted: FittedPalette, run: str) -> None:
    u, place, *more = data.under(f"noise/loss_{run}").values()
    chain, masked = betas(data, "train"), run != "unmasked"
    t = at(u.double(), chain.T - 1) + 1  # the least noisy level is left out there
    assert (t - 1).tolist() == data[f"out/loss/{run}/t"].tolist()
    levels = between(chain.signal().square(), t, place[:, 0].double())
    close(levels, data[f"out/loss/{run}/gammas"][:, 0], rtol=1e-6)
    calls: list[Tensor] = []

    def network(x: Tensor, label: Tensor, features: Tensor) -> Tensor:
        calls.append(torch.cat([features, x], 1))
        return fitted.network(x, label, features=features)

    fitted.network.requires_grad_(True)
    here = Denoiser(network, fitted.config.process(levels.sqrt()))
    seen, eps = data["in/cond_masked" if masked else "in/cond"], more[0] if more else data["in/eps"]
    known = data["in/mask"] < 0.5 if masked else None
    loss = sized_error(here, data["in/y0"], torch.tensor([1, 2]), eps, seen, known).mean()
    close(calls[0], data[f"out/loss/{run}/network_input"], 1e-6)
    close(loss, data[f"out/loss/{run}/loss"], rtol=1e-5)
    loss.backward()
    for name, gradient in data.under(f"out/loss/{run}/grad").items():
        close(fitted.network.get_parameter(name).grad, gradient, share=1e-4)  # pyright: ignore


@pytest.mark.parametrize("run", ["masked", "unmasked", "few"])
def test_the_loop(
    data: Golden, fitted: FittedPalette, replayed: Callable[[Any], list[Any]], run: str
) -> None:
    """Noise for every step but the last. With a mask the reference starts from what is seen, or is told
    where, and does not put known pixels into that start."""
    chain, masked, known = betas(data, "test"), run != "unmasked", data["in/mask"] < 0.5
    draws = data.under("noise/restoration_few" if run == "few" else f"noise/restoration_{run}").values()
    steps = replayed(Tape([*draws, torch.zeros(2, 3, 16, 16)]))
    seen = data["in/cond_masked" if masked else "in/cond"]
    begin = {"masked": seen, "few": data["in/yt"]}.get(run)
    found = draw_pictured(
        fitted, seen, chain, chain.T, Run(progress=False),
        controls=lambda _: [GivenRegion(data["in/y0"], known, place="after")] if masked else [],
        begin=None if begin is None else lambda _: begin,
    )  # fmt: skip
    every = torch.stack([step.x for step in steps])
    if run == "few":
        kept = [9 - i for i in reversed(range(10)) if i % (10 // data.config["sample_num"]) == 0]
        close(every[kept], data["out/restoration_few/all"][1:], 2e-4)
        return
    close(every, data[f"out/restoration/{run}/all"][1:], 2e-4)
    close(found, data[f"out/restoration/{run}/final"], 2e-4)


@pytest.mark.parametrize(
    ("name", "schedule"),
    [("linear", linear), ("quad", scaled_linear), ("cosine", lambda T, *_: cosine(T)),
     ("jsd", lambda T, *_: reciprocal(T))],
)  # fmt: skip
def test_schedules(golden: Callable[[str], Golden], name: str, schedule: Callable[..., Tensor]) -> None:
    """Those that the library has; the paper's is the linear one."""
    data = golden("palette/schedules")
    for T, start, end in data.config["sets"]:
        close(schedule(T, start, end), data[f"out/{name}/{T}_{start}_{end}"], 1e-15, 1e-12)
