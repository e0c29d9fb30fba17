"""AnoDDPM with priors whose every answer is known."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from PIL import Image
from torch import Tensor

from closed_form import Exact, Memory
from headwater.core import Diffusion, schedule
from headwater.errors import UserError
from headwater.methods.anomaly.anoddpm.method import AnoDDPM
from headwater.methods.catalogue import entry
from headwater.models import Prior
from headwater.noise import Noise, PowerLaw, Simplex, White
from headwater.sampling import Run
from headwater.training import Recipe, fit

Q = Diffusion.vp(schedule.betas("linear", 1000))
QUIET = Run(progress=False)


@dataclass
class Known:
    """What AnoDDPM asks of a prior, around a denoiser in closed form."""

    denoiser: Any
    shape: tuple[int, int, int]
    noise: Noise = field(default_factory=White)
    controls: tuple[Any, ...] = ()

    @property
    def process(self) -> Diffusion:
        return Q


def prior(denoiser: Any, shape: tuple[int, int, int], noise: Noise | None = None) -> Prior:
    return cast(Prior, Known(denoiser, shape, noise or White()))


@pytest.fixture(scope="module")
def members() -> Tensor:
    """Eight smooth pictures, (8, 1, 16, 16), that a finite data set consists of."""
    fields = PowerLaw(3, 0.8, 16.0).stream(range(8))(torch.empty(8, 1, 16, 16))
    return (fields * 0.4).clamp(-1, 1)


@pytest.fixture(scope="module")
def sick(members: Tensor) -> tuple[Tensor, Tensor]:
    """The members with a bright disc of radius 3 each, and where it is."""
    row, column = torch.arange(16.0)[:, None], torch.arange(16.0)
    truth = torch.stack([torch.hypot(row - 4 - i, column - 11 + i) <= 3 for i in range(8)])[:, None]
    return members + 0.6 * truth, truth


def test_a_finite_data_set_heals_to_its_member(members: Tensor, sick: tuple[Tensor, Tensor]) -> None:
    image, truth = sick
    found = AnoDDPM(level=300, steps=20).apply(prior(Memory(Q, members), (1, 16, 16)), image, **QUIET)
    torch.testing.assert_close(found.healed, members, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.map, 0.36 * truth, atol=2e-3, rtol=0)
    judged = AnoDDPM().evaluate(found.map, found.score, truth)
    assert judged["pixel_auroc"] == judged["best_dice"] == 1


def test_healthy_pictures_show_nothing(members: Tensor) -> None:
    found = AnoDDPM(level=50, steps=10).apply(prior(Memory(Q, members), (1, 16, 16)), members, **QUIET)
    assert float(found.map.max()) < 1e-6
    assert float(found.score.max()) < 1e-6


def test_what_is_left_of_a_lesion_follows_the_closed_form() -> None:
    """Pixels N(m, s^2): the mean reconstruction is m + a^2 s^2 / (a^2 s^2 + b^2) (x - m)."""
    mean, std, n = 0.2, 0.3, 6000
    image = torch.full((1, 1, 1, n), 0.9, dtype=torch.float64)
    for level in (100, 250, 500):
        a, b = Q.scales(level)
        kept = a * a * std * std / (a * a * std * std + b * b)
        healed = AnoDDPM(level).apply(prior(Exact(Q, mean, std), (1, 1, n)), image, **QUIET).healed
        assert float(healed.mean()) == pytest.approx(mean + kept * 0.7, abs=4 * std / n**0.5 + 0.003)


def test_few_steps_leave_no_noise_behind() -> None:
    """A short walk errs towards the mean; the forward step's variance would overshoot the data's spread."""
    std, n = 0.3, 4000
    image = torch.zeros(1, 1, 1, n, dtype=torch.float64)
    spread = [
        float(AnoDDPM(300, steps).apply(prior(Exact(Q, 0.0, std), (1, 1, n)), image, **QUIET).healed.std())
        for steps in (6, 10, None)
    ]
    assert spread == sorted(spread)
    assert spread[-1] == pytest.approx(std, rel=0.05)


def test_averaging_reconstructions_brings_the_mean_map(members: Tensor, sick: tuple[Tensor, Tensor]) -> None:
    known = prior(Exact(Q, 0.0, 0.3), (1, 16, 16))
    image = sick[0]
    one, many = (AnoDDPM(200, 10, k).apply(known, image, **QUIET) for k in (1, 40))
    # The healed mean of 40 lies closer to its limit than that of one by about sqrt 40.
    a, b = Q.scales(200)
    limit = a * a * 0.09 / (a * a * 0.09 + b * b) * image
    errors = [float((f.healed - limit).square().mean().sqrt()) for f in (one, many)]
    assert errors[0] / errors[1] == pytest.approx(40**0.5, rel=0.25)
    # The map averages squares: it stays above the square of the mean difference.
    assert float((many.map - (image - many.healed).square()).mean()) > 0.01


@pytest.mark.parametrize("law", [White(), Simplex(3, 0.8, 8.0), PowerLaw(3, 0.8, 8.0)])
def test_the_batch_does_not_matter(law: Noise, sick: tuple[Tensor, Tensor]) -> None:
    known = prior(Exact(Q, 0.0, 0.3), (1, 16, 16), law)
    method = AnoDDPM(120, 6, 2)
    whole = method.apply(known, sick[0], seed=3, batch_size=8, progress=False)
    parts = method.apply(known, sick[0], seed=3, batch_size=3, progress=False)
    torch.testing.assert_close(whole.map, parts.map, atol=0, rtol=0)
    assert not torch.equal(whole.map[0], whole.map[1])
    other = method.apply(known, sick[0], seed=4, batch_size=8, progress=False)
    assert not torch.equal(whole.map, other.map)


def test_the_plan_climbs_once_and_walks_back() -> None:
    assert AnoDDPM(4).plan(1000) == [0, 4, 3, 2, 1, 0]
    assert AnoDDPM(250, 5).plan(1000) == [0, 250, 200, 150, 100, 50, 0]
    with pytest.raises(UserError, match="levels 1 to 100"):
        AnoDDPM(250).plan(100)
    with pytest.raises(UserError, match="1 to 250 steps"):
        AnoDDPM(250, 251).plan(1000)


def test_rates_have_their_own_names() -> None:
    """The reference swaps precision and recall: half the lesion found and nothing else is recall 0.5."""
    truth = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    truth[0, 0, :2] = True
    map = torch.zeros(2, 1, 4, 4)
    map[0, 0, 0] = 1.0
    found = AnoDDPM().evaluate(map, map.amax((1, 2, 3)), truth)
    assert (found["precision"], found["recall"], found["image_auroc"]) == (1.0, 0.5, 1.0)
    assert found["dice"] == pytest.approx(2 / 3)


def test_other_sizes_are_refused_in_one_sentence(sick: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(UserError, match="resize them"):
        AnoDDPM().apply(prior(Exact(Q, 0.0, 0.3), (1, 8, 8)), sick[0], **QUIET)


@pytest.mark.parametrize("name", ["small", "paper"])
def test_recipes_of_its_prior(name: str, tmp_path: Path) -> None:
    recipe = Recipe.load(entry("anoddpm").folder / f"recipes/prior/{name}.yaml")
    assert isinstance(recipe.prior_config().law(), Simplex)
    assert (recipe.prior_config().law() == Simplex()) == (name == "paper")
    for i in range(3):
        Image.new("L", (16, 16), 80 * i).save(tmp_path / f"{i}.png")
    network = replace(recipe.network, model_channels=32, channel_mult=(1,), attention_resolutions=())
    training = replace(recipe.training, steps=2, batch_size=2, warmup=1)
    tiny = replace(recipe, data=str(tmp_path), shape=(1, 16, 16), network=network, training=training)
    made = fit(tiny, tmp_path / "out", progress=False)
    again = Prior.from_pretrained(tmp_path / "out" / "prior")
    assert again.noise == made.noise == recipe.prior_config().law()
    assert again.shape == (1, 16, 16)
