"""EGSDE with priors and features whose answers are known, and what its classifier learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from closed_form import F64, Exact, Memory, prior_of
from contract.specimens import exact_prior, network_prior
from headwater.cli import main
from headwater.core import Diffusion, schedule
from headwater.core.guidance import gradient
from headwater.data import save_picture
from headwater.errors import UserError
from headwater.methods.translation.egsde.method import EGSDE, DomainClassifier, Energies, unit
from headwater.methods.translation.sdedit.method import SDEdit
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.operators import LowPass
from headwater.training import TrainerConfig

VP = Diffusion.vp(schedule.betas("linear", 1000))
CHAINS = {"VP": VP, "VE": Diffusion.ve((VP.sigma / VP.alpha)[1:], VP.label[1:])}
QUIET = {"progress": False, "device": "cpu", "batch_size": 4000}
SMALL = UNetArchitecture(32, (1,), 1, ())


def colours(x: Tensor, label: Tensor) -> Tensor:
    """Features that are the picture itself: a position's feature vector is its colour."""
    return x


def fitted_to(q: Diffusion, features: Callable[[Tensor, Tensor], Tensor] = colours) -> DomainClassifier:
    config = SimpleNamespace(process=SimpleNamespace(build=lambda: q))
    return cast(DomainClassifier, SimpleNamespace(check=lambda image: None, config=config, features=features))


def test_without_weights_it_is_sdedit_bit_for_bit() -> None:
    image, prior = torch.rand(3, 3, 12, 16) * 2 - 1, exact_prior()
    method = EGSDE(level=30, steps=5, repeats=2, realism=0, faithfulness=0, factor=2)
    how = {"seed": 3, "progress": False, "device": "cpu"}
    found = method.apply(prior, image, fitted_to(prior.process), **how)
    assert torch.equal(found, SDEdit(30, 5, 2).apply(prior, image, **how))


@pytest.mark.parametrize("chain", CHAINS)
def test_coarse_content_pulls_a_gaussian_prior_to_the_source(chain: str) -> None:
    """The mean of what is drawn follows a recursion of three numbers a step: flat pictures stay flat."""
    q, mean, variance, source, weight = CHAINS[chain], 0.3, 0.25, -1.0, 3.0
    wanted = q.scales(200)[0] * source
    for t in range(200, 0, -1):
        (alpha, sigma), (a, b) = q.scales(t), q.between(t - 1, t)
        x0 = (alpha * variance * wanted + sigma**2 * mean) / (alpha**2 * variance + sigma**2)
        pull = 2 * weight * b * b / a * (wanted - alpha * source) / (alpha**2 + sigma**2)
        wanted = float(q.posterior(torch.tensor(wanted), torch.tensor(x0), t, t - 1).mean - pull)
    image = torch.full((60, 1, 4, 16), source, dtype=F64)
    method = EGSDE(level=200, realism=0, faithfulness=weight, factor=2)
    prior = prior_of(Exact(q, mean, variance**0.5))
    found = method.apply(prior, image, fitted_to(q), seed=0, **QUIET)
    plain = SDEdit(level=200).apply(prior, image, seed=0, **QUIET)
    assert float(found.mean()) == pytest.approx(wanted, abs=0.03)
    assert float(plain.mean()) > wanted + 0.1


def test_an_exploding_prior_draws_the_same_pictures() -> None:
    """Of the same noise levels: both energies see y and x_t at unit variance."""
    image = torch.rand(4, 3, 8, 8, dtype=F64) * 2 - 1
    method = EGSDE(level=300, steps=50, factor=2, realism=1e6)
    one, other = (
        method.apply(prior_of(Exact(q, 0.1, 0.4)), image, fitted_to(q), seed=0, **QUIET)
        for q in CHAINS.values()
    )
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_features_drive_away_from_the_source() -> None:
    """At a low level a prior of two pictures draws the source's own, and the other one when it is driven."""
    members = torch.tensor([[0.8, -0.2, 0.1], [-0.5, 0.7, 0.1]])[:, :, None, None].repeat(1, 1, 4, 4)
    image, prior = members[:1].repeat(60, 1, 1, 1), prior_of(Memory(VP, members))

    def share(realism: float) -> float:
        method = EGSDE(level=350, realism=realism, faithfulness=0, factor=2)
        whole = fitted_to(VP, lambda x, label: x.mean((2, 3), keepdim=True))
        found = method.apply(prior, image, whole, seed=0, **QUIET)
        return float((found[:, 0, 0, 0] < 0).float().mean())

    assert share(0) < 0.05
    assert share(2e5) > 0.9


@pytest.mark.parametrize("weights", [(500.0, 0.0), (0.0, 2.0), (500.0, 2.0)])
def test_weights_mean_the_same_at_every_size(weights: tuple[float, float]) -> None:
    """A picture beside its mirror image is moved as it is by itself."""
    realism, faithfulness = weights
    method, x, y = EGSDE(realism=realism, faithfulness=faithfulness), *torch.randn(2, 2, 3, 8, 8, dtype=F64)

    def pull(*pair: Tensor) -> Tensor:
        y, x = pair
        phi = LowPass.of(4, tuple(x.shape[-2:]), "linear")
        control = Energies(method, x, VP, cast(Any, None), colours, phi)
        return gradient(lambda v: control.energy(v, x, torch.zeros(2)), y)

    once, twice = pull(y, x), pull(*(torch.cat([v, v.flip(-1)], -1) for v in (y, x)))
    torch.testing.assert_close(twice[..., :8], once, atol=1e-12, rtol=1e-9)


def domain(n: int, bright: float, seed: int) -> Tensor:
    """Pictures (n, 3, 8, 8) of noise about a grey value."""
    return bright + 0.2 * torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_the_classifier_tells_domains_of_unequal_size() -> None:
    training = TrainerConfig(30, 16, 3e-3)
    prior = exact_prior((3, 8, 8))
    fitted = EGSDE(network=SMALL, training=training).fit(
        prior, domain(9, -0.4, 0), domain(4, 0.4, 1), seed=0, progress=False, device="cpu"
    )
    q, new = prior.process, torch.cat([domain(20, -0.4, 2), domain(20, 0.4, 3)])
    noised = q.sample(new, 200, lambda like, t: torch.randn(like.shape))
    said = fitted.network(noised, torch.full((40,), 199.0)).argmax(1)
    assert float((said == torch.arange(40) // 20).float().mean()) > 0.9
    assert float(unit(q, 200)) == pytest.approx(1)


def test_the_encoder_may_begin_as_the_priors() -> None:
    """All but the head: one step of a vanishing rate leaves it as it was."""
    prior, image = network_prior((3, 8, 8)), domain(4, 0.0, 0)
    network = replace(SMALL, use_scale_shift_norm=False)
    method = EGSDE(network=network, begin="prior", training=TrainerConfig(1, 2, 1e-12))
    fitted = method.fit(prior, image, image, seed=0, progress=False, device="cpu")
    held = prior.network.state_dict()
    names = [name for name in fitted.network.state_dict() if not name.startswith("out.")]
    assert len(names) > 20
    for name in names:
        torch.testing.assert_close(fitted.network.state_dict()[name], held[name], atol=1e-9, rtol=0)
    with pytest.raises(UserError, match="begin fresh"):
        replace(method, network=SMALL).fit(prior, image, image, progress=False)


def test_two_folders_of_any_number_and_names(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither domain has partners in the other, although one name is in both."""
    for name, n, first in (("a", 3, 0), ("b", 5, 2)):
        for i in range(n):
            save_picture(domain(1, 0.0, i)[0].clamp(-1, 1), tmp_path / name / f"{i + first}.png")
    prior = tmp_path / "prior"
    network_prior((3, 8, 8)).save_pretrained(prior)
    words = [
        "--prior",
        prior,
        "--source",
        tmp_path / "a",
        "--target",
        tmp_path / "b",
        "--out",
        tmp_path / "f",
    ]
    small = ["--network.model-channels", 32, "--network.channel-mult", 1, "--network.num-res-blocks", 1]
    small += ["--network.attention-resolutions", 1, "--network.num-head-channels", 32]
    small += ["--training.steps", 2, "--training.batch-size", 2]
    small += ["--level", 20, "--steps", 10, "--factor", 2]
    assert main(["fit", "egsde", *map(str, [*words, *small])]) == 0, capfd.readouterr().err
    use = ["--fitted", tmp_path / "f", "--image", tmp_path / "a", "--realism", 10, "--out", tmp_path / "out"]
    assert main(["apply", "egsde", *map(str, use)]) == 0, capfd.readouterr().err
    assert len(list((tmp_path / "out" / "translated").glob("*.png"))) == 3


def test_what_cannot_be_is_said() -> None:
    prior, image = exact_prior((3, 12, 16)), torch.zeros(2, 3, 12, 16)
    how: dict[str, Any] = {"progress": False, "device": "cpu"}
    fitted = fitted_to(prior.process)
    for method, words in (
        (EGSDE(factor=13), "factor is 13: give a number from 2 to 12"),
        (EGSDE(realism=-1, factor=2), "are weights: give 0 or more"),
        (EGSDE(realism_by=cast(Any, "l1"), factor=2), "likeness is by 'l1'"),
        (EGSDE(level=0, factor=2), "level is 0: give a timestep"),
        (EGSDE(steps=2, factor=2), "carries coarse content .* take more steps"),
    ):
        with pytest.raises(UserError, match=words):
            method.apply(prior, image, fitted, **how)
    with pytest.raises(UserError, match="another noise schedule"):
        EGSDE(factor=2).apply(prior, image, fitted_to(Diffusion.vp(schedule.betas("cosine", 1000))), **how)
    small = EGSDE(network=SMALL)
    with pytest.raises(UserError, match="target is empty"):
        small.fit(prior, image, image[:0], **how)
    with pytest.raises(UserError, match="square ones"):
        replace(small, pool="attention").fit(prior, image, image, **how)
    with pytest.raises(UserError, match="12 x 16: take a network"):
        EGSDE().fit(prior, image, image, **how)
    with pytest.raises(UserError, match="one guide of the same size"):
        EGSDE().evaluate(image, image[..., :-1])
