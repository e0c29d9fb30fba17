"""EGSDE against the arrays of its reference code: same weights, same draws, same pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from arrays import Golden, close
from closed_form import Tape
from headwater.core.guidance import gradient
from headwater.methods.translation.egsde.method import (
    EGSDE,
    PAPER_PIXELS,
    DomainClassifier,
    DomainsConfig,
    likeness,
)
from headwater.models import Prior, PriorConfig, ProcessConfig
from headwater.nets.adm_classifier import Classifier, ClassifierConfig
from headwater.operators import LowPass
from headwater.operators.spectral import resizing

SIDE = 16


class FirstChannels(nn.Module):
    """The noise that a network with learned variances predicts: the reference ignores the rest."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        return self.inner(x, label)[:, : x.shape[1]]


def process_of(ref: Golden) -> ProcessConfig:
    chain = ref.config["diffusion"]
    low, high, T = chain["beta_start"], chain["beta_end"], chain["num_diffusion_timesteps"]
    return ProcessConfig(betas=tuple(torch.linspace(low, high, T, dtype=torch.float64).tolist()), T=T)


def prior_of(ref: Golden) -> Prior:
    config = PriorConfig({"kind": "adm"}, (3, SIDE, SIDE), process_of(ref), clip=False)
    return Prior(FirstChannels(ref.unet("w/model")).eval(), config)


def classifier_of(ref: Golden) -> DomainClassifier:
    """The reference's encoder; its head, which nothing calls, is another one."""
    config = ClassifierConfig(**ref.config["dse"])
    network, stored = Classifier(config), ref.under("w/dse")
    found = network.load_state_dict({k: v for k, v in stored.items() if "I2Iout" not in k}, strict=False)
    assert not found.unexpected_keys
    assert all(name.startswith("out.") for name in found.missing_keys)
    fitted = DomainClassifier(network, DomainsConfig(config, (3, SIDE, SIDE), process_of(ref)))
    fitted.network.eval().requires_grad_(False)
    return fitted


def low_pass_of(ref: Golden) -> LowPass:
    return LowPass.of(ref.config["down_N"], (SIDE, SIDE), "linear")


def of_paper(weight: float) -> float:
    """A weight of the reference's mean over positions, as one that counts pixels."""
    return weight * PAPER_PIXELS / SIDE**2


def test_networks(golden: Callable[[str], Golden]) -> None:
    ref = golden("translation/egsde")
    prior, fitted = prior_of(ref), classifier_of(ref)
    close(1 - (prior.process.alpha[1:] / prior.process.alpha[:-1]) ** 2, ref["out/betas"], 1e-7)
    for t in ref.config["t"]:
        label = torch.full((2,), float(t))
        with torch.no_grad():
            close(prior.network(ref["in/y"], label), ref[f"out/forward/t{t}"][:, :3], 2e-5)
            close(fitted.features(ref["in/y"], label), ref[f"out/features/t{t}"], 2e-5)


def test_low_pass(golden: Callable[[str], Golden]) -> None:
    ref = golden("translation/egsde")
    for name in "xy":
        close(low_pass_of(ref)(ref[f"in/{name}"]), ref[f"out/low_pass/up_down_{name}"], 1e-6)


def test_linear_resizing(golden: Callable[[str], Golden]) -> None:
    ref, seen = golden("translation/resizer"), 0
    for number, (_, factor, kernel) in enumerate(ref.config["cases"]):
        image, stored = ref[f"in/{number:02d}"], ref[f"out/{number:02d}"]
        if kernel != "linear":
            continue
        sides = zip(image.shape[2:], stored.shape[2:], strict=True)
        rows, columns = (resizing(n, out, factor, "linear").float() for n, out in sides)
        close(rows @ image @ columns.T, stored, 1e-6)
        seen += 1
    assert seen == 5


def test_likenesses(golden: Callable[[str], Golden]) -> None:
    ref = golden("translation/egsde")
    a, b = ref["in/f1"], ref["in/f2"]
    close(likeness(a, b, "cosine", PAPER_PIXELS), ref["out/cosine_similarity"], rtol=1e-5)
    slope = gradient(lambda x: likeness(x, b, "cosine", PAPER_PIXELS), a)
    close(slope, ref["out/cosine_similarity_grad"], share=1e-5)
    close(likeness(a, b, "squared", PAPER_PIXELS), -ref["out/mse"], rtol=1e-5)


def test_energies(golden: Callable[[str], Golden]) -> None:
    ref = golden("translation/egsde")
    x, y, fitted, phi = ref["in/x"], ref["in/y"], classifier_of(ref), low_pass_of(ref)
    for t in ref.config["t"]:

        def realistic(y: Tensor, t: float = float(t)) -> Tensor:
            ours, of_source = (fitted.features(v, torch.full((2,), t)) for v in (y, x))
            return likeness(ours, of_source, "cosine", PAPER_PIXELS)

        close(realistic(y), ref[f"out/energy_realistic/t{t}/value"], rtol=1e-5)
        close(gradient(realistic, y), ref[f"out/energy_realistic/t{t}/grad"], share=1e-5)

    def faithful(y: Tensor) -> Tensor:
        return -likeness(phi(y), phi(x), "squared", PAPER_PIXELS)

    close(faithful(y), ref["out/energy_faithful/value"], rtol=1e-5)
    close(gradient(faithful, y), ref["out/energy_faithful/grad"], share=1e-5)


def draws(stored: list[Tensor], level: int, guided: bool) -> Iterator[Tensor]:
    """The reference's draws in our order. It noises the source by one field at all timesteps, where we draw
    for each step; and it draws for the step into 0 too."""
    start, *steps = stored
    yield start
    for t, noise in zip(range(level, 0, -1), steps, strict=True):
        if guided:
            yield start
        if t > 1:
            yield noise


@pytest.mark.parametrize("run", [0, 1, 2])
def test_the_loop(golden: Callable[[str], Golden], replayed: Any, run: int) -> None:
    ref = golden("translation/egsde")
    about = ref.config["runs"][run]
    names, level = {"cosine": "cosine", "neg_l2": "squared"}, about["t0"]
    by, other = names[about["s1"]], names[about["s2"]]
    method = EGSDE(
        level, factor=ref.config["down_N"], realism_by=by, faithfulness_by=other,  # pyright: ignore
        realism=of_paper(about["ls"]) if by == "cosine" else about["ls"],
        faithfulness=of_paper(about["li"]) if other == "cosine" else about["li"],
    )  # fmt: skip
    taken = list(ref.under(f"noise/{about['name']}").values())
    steps = replayed(Tape(draws(taken, level, about["ls"] > 0)))
    source = 2 * ref["in/source"] - 1
    found = method.apply(prior_of(ref), source, classifier_of(ref), device="cpu", progress=False)
    down, stored = [step for step in steps if step.pred], ref[f"out/{about['name']}/y"]
    close(down[0].pred.x, ref[f"out/{about['name']}/start"], 1e-4)
    close(torch.stack([step.x for step in down]), stored, 1e-4)
    close(found, stored[-1], 1e-4)
