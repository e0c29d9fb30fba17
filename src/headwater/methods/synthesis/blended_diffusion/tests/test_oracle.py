"""Blended Diffusion where all is known: a Gaussian prior and an encoder whose distance is a square."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from arrays import close
from closed_form import F64, gaussian_prior
from contract.specimens import exact_prior
from headwater.data.tokenizer import Tokenizer
from headwater.errors import UserError
from headwater.methods.synthesis.blended_diffusion.method import BlendedDiffusion, shown
from headwater.methods.synthesis.blended_diffusion.views import OFTEN, Views
from headwater.noise import White, seeds
from headwater.sampling import Run, timesteps_of

QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}
RUN = Run(progress=False, device="cpu")
N, SIDE = 250, 2


@dataclass
class Angle:
    """A picture is the angle of `turn` times the sum of its first channel, a text the angle of its number."""

    turn: float = 0.2
    channels: int = 1
    side: int = SIDE

    def image(self, images: Tensor) -> Tensor:
        at = self.turn * images[:, 0].sum((1, 2))
        return torch.stack([at.cos(), at.sin()], 1)

    def text(self, texts: Sequence[str]) -> Tensor:
        at = torch.tensor([float(text) for text in texts], dtype=F64)
        return torch.stack([at.cos(), at.sin()], 1)

    def knows(self, text: str) -> bool:
        return bool(text)


METHOD = BlendedDiffusion(
    scale=40.0, range_scale=0.0, augmentations=1, distance="spherical", steps=8, skip=2, candidates=1
)
KNOWN = torch.ones(1, 1, SIDE, SIDE, dtype=torch.bool)
KNOWN[..., 0, 0] = False


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
def test_the_region_has_the_mean_and_the_variance_that_follow(sampler: Any) -> None:
    """Half the square of the angle has a linear gradient, so every step is a linear map of a Gaussian."""
    mean, std, turn, wish, given = -0.1, 0.3, 0.2, 0.1, 0.4
    ones = torch.ones(1, SIDE, SIDE, dtype=F64)
    prior, image = gaussian_prior(mean * ones, std * ones), torch.full((N, 1, SIDE, SIDE), given, dtype=F64)
    method = replace(METHOD, sampler=sampler)
    found = method.apply(prior, image, KNOWN, [str(wish)] * N, encoder=Angle(turn), **QUIET)
    assert torch.equal(found[KNOWN.expand_as(found)], image[KNOWN.expand_as(image)])

    q, plan = prior.process, timesteps_of(prior.process, method.steps)[method.skip :]
    m, v = q.scales(plan[0])[0] * given, q.scales(plan[0])[1] ** 2
    for t, s in pairwise(plan):
        a, b = q.scales(t)
        total = a * a * std * std + b * b
        keep, rest = a * std * std / total, b * b * mean / total  # x0 = keep x + rest
        in_, in_rest = b * keep + 1 - b, b * rest
        slope = method.scale * turn * in_  # of the loss, over x: slope (turn (in_ x + in_rest) - wish)
        pull, push = slope * turn * in_, slope * (turn * in_rest - wish)
        alpha, sigma = q.scales(s)
        if sampler == "ddim":
            keep, rest, var = keep - b * b / a * pull, rest - b * b / a * push, 0.0
            on_x, on = alpha * keep + sigma * (1 - a * keep) / b, (alpha - sigma * a / b) * rest
        else:
            step, wide = q.between(s, t)
            x_part, x0_part = step * sigma**2 / b**2, alpha * wide**2 / b**2
            var = (wide * sigma / b) ** 2
            on_x, on = x_part + x0_part * keep - var * pull, x0_part * rest - var * push
        m, v = on_x * m + on, on_x**2 * v + var
    region = found[:, 0, 0, 0]
    assert float(region.mean()) == pytest.approx(m, abs=5 * (v / N) ** 0.5)
    assert float(region.var()) == pytest.approx(v, rel=0.3)
    plain = replace(method, scale=0.0).apply(prior, image, KNOWN, ["0.1"] * N, encoder=Angle(turn), **QUIET)
    assert abs(turn * m - wish) < abs(turn * float(plain[:, 0, 0, 0].mean()) - wish)


def test_the_nearest_of_the_candidates_is_kept() -> None:
    prior, image = exact_prior((1, SIDE, SIDE)), torch.zeros(3, 1, SIDE, SIDE)
    method, text, encoder = replace(METHOD, scale=0.0, candidates=4), ["0.1", "-0.2", "0"], Angle()
    best = method.apply(prior, image, KNOWN, text, encoder=encoder, **QUIET)
    one = replace(method, candidates=1).apply(prior, image, KNOWN, text, encoder=encoder, **QUIET)
    far = [method.distances(encoder, x, KNOWN, text) for x in (best, one)]
    assert bool((far[0] <= far[1]).all())
    assert bool((far[0] < far[1]).any())
    again = method.apply(prior, image[1:], KNOWN, text[1:], encoder=encoder, first=1, batch_size=3, **QUIET)
    assert torch.equal(again, best[1:])


def test_nothing_but_holding_changes_the_known_part_and_the_more_the_less() -> None:
    prior, image = exact_prior((1, SIDE, SIDE)), torch.zeros(2, 1, SIDE, SIDE)
    changed = list[float]()
    for hold in (0.0, 1.0, 5.0):
        drawn = METHOD.draw(prior, image, KNOWN, ["0.1"] * 2, Angle(), RUN, hold)
        changed.append(float((drawn - image)[KNOWN.expand_as(image)].abs().mean()))
    assert changed[0] > changed[1] > changed[2] > 0


def test_the_timestep_of_the_known_part() -> None:
    """One too noisy in the paper, and none at all left of it in the end."""
    prior, image = exact_prior((1, SIDE, SIDE)), torch.full((1, 1, SIDE, SIDE), 0.5)
    ends = [
        replace(METHOD, noised_to=to).draw(prior, image, KNOWN, ["0"], Angle(), RUN)
        for to in ("before", "reached")
    ]
    assert not torch.equal(ends[0][..., 1, :], image[..., 1, :])
    assert torch.equal(ends[1][..., 1, :], image[..., 1, :])


def test_views() -> None:
    picture = torch.rand(1, 1, 8, 8) * 2 - 1
    views = Views(3, 8, 5, White().stream(seeds(0, n=1)))
    draws = views.draws(picture)
    assert draws.shape == (1, 4, 13)
    seen = views(picture, draws[0])
    assert seen.shape == (5, 3, 8, 8)
    assert torch.equal(seen[0], picture[0].expand(3, -1, -1))
    assert all(not torch.equal(a, b) for a, b in pairwise(seen[1:]) if float(draws.min()) < OFTEN)
    still = torch.full((4, 13), 0.5)
    still[:, 4:12] = 0.0  # no turn, no shift, no corner moved
    close(views(picture, still)[1:], seen[:1].expand(4, -1, -1, -1), 1e-5)
    still[:, 4:12] = 1.0  # every corner 0.7 of the way to the middle
    small = views(torch.ones(1, 1, 8, 8), still)[1]
    assert float(small[..., 3:5, 3:5].min()) == 1
    assert float(small[..., 0].abs().max()) == 0
    still[:, [3, 12]] = 1.0  # neither chance has come
    assert torch.equal(views(picture, still)[1:], seen[:1].expand(4, -1, -1, -1))


def test_the_square_around_a_region() -> None:
    picture, hole = torch.ones(1, 3, 8, 12), torch.zeros(1, 8, 12, dtype=torch.bool)
    hole[0, 0:2, 4:9] = True
    assert shown(picture, hole, False).shape == (1, 3, 8, 12)
    seen = shown(picture, hole, True)
    assert seen.shape == (1, 3, 5, 5)
    assert float(seen.sum()) == 3 * 10
    assert shown(picture, ~hole, True).shape == (1, 3, 8, 12)


def test_a_published_clip_guides(tmp_path: Path) -> None:
    """A small model of transformers in a local folder stands in for those on the hub."""
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    words = {**small, "vocab_size": 40, "max_position_embeddings": 12, "eos_token_id": 3, "pad_token_id": 0}
    vision = {**small, "image_size": 8, "patch_size": 4}
    config = transformers.CLIPConfig(text_config=words, vision_config=vision, projection_dim=10)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.CLIPModel(config)
    model.save_pretrained(tmp_path)
    tokens = Tokenizer.train(["red heart"], 40, "word").model
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokens, pad_token="[PAD]", unk_token="[UNK]", sep_token="[SEP]"
    ).save_pretrained(tmp_path)
    prior, image, known = exact_prior((3, 12, 12)), torch.zeros(2, 3, 12, 12), torch.zeros(1, 1, 12, 12) > 0
    method = BlendedDiffusion(str(tmp_path), steps=3, skip=0, augmentations=3, candidates=1)
    ends = [
        replace(method, scale=s).apply(prior, image, known, ["red", "heart"], **QUIET) for s in (0, 100.0)
    ]
    assert not torch.equal(*ends)
    scores = method.evaluate(ends[1], image, known, ["red", "heart"])
    assert scores["outside"] == 0
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no CLIP called"):
        method.apply(prior, image, known, ["red", "heart"])


def test_what_cannot_be_is_said() -> None:
    prior, image = exact_prior((1, SIDE, SIDE)), torch.zeros(2, 1, SIDE, SIDE)
    for method, text, words in (
        (METHOD, ["0"], "2 pictures and 1 texts: give one text for each"),
        (METHOD, ["0", ""], "text 1, '', says nothing to the encoder"),
        (replace(METHOD, skip=8), ["0", "0"], "give a number from 0 to 7"),
        (replace(METHOD, candidates=0), ["0", "0"], "candidates is 0"),
        (replace(METHOD, augmentations=0), ["0", "0"], "augmentations is 0"),
        (replace(METHOD, scale=-1.0), ["0", "0"], "0 or more"),
    ):
        with pytest.raises(UserError, match=words):
            method.apply(prior, image, KNOWN, text, encoder=Angle(), **QUIET)
    with pytest.raises(UserError, match="reads grey pictures alone"):
        METHOD.apply(exact_prior((3, 2, 2)), torch.zeros(1, 3, 2, 2), KNOWN, ["0"], encoder=Angle(), **QUIET)
