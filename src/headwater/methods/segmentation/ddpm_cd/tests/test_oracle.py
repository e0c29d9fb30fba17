"""DDPM-CD where the answer is known: what does not differ, what the labels leave open, how tiles are laid."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from headwater.errors import UserError
from headwater.methods.segmentation.ddpm_cd.claim import threshold
from headwater.methods.segmentation.ddpm_cd.method import DDPMCD, ChangeDetector, Reader
from headwater.methods.segmentation.ddpm_cd.network import ChangeHead, HeadConfig
from headwater.methods.segmentation.ddpm_cd.pairs import photo_pairs
from headwater.models import Prior, PriorConfig, ProcessConfig
from headwater.training import TrainerConfig

QUIET = {"progress": False, "device": "cpu", "seed": 0}
METHOD = DDPMCD(signal_levels=(0.99, 0.9), blocks=(0, 2), training=TrainerConfig(40, 4, lr=3e-3))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def prior() -> Prior:
    """A tiny untrained U-Net whose decoder has two blocks at 8 x 8 and two at 16 x 16."""
    net = {"kind": "adm", "in_channels": 3, "out_channels": 3, "model_channels": 32, "channel_mult": [1, 1]}
    config = PriorConfig(
        {**net, "num_res_blocks": 1, "attention_resolutions": []}, (3, 16, 16), ProcessConfig(T=100)
    )
    torch.manual_seed(0)
    return Prior(config.build_network().eval(), config)


def pairs(n: int, height: int = 16, width: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    """A grey ground, and a bright square that came."""
    before, truth = torch.zeros(n, 3, height, width), torch.zeros(n, height, width, dtype=torch.long)
    for i, (top, left) in enumerate(torch.randint(10, (n, 2), generator=generator()).tolist()):
        truth[i, top : top + 6, left : left + 6] = 1
    return before, torch.where(truth[:, None] == 1, 1.0, before), truth


@pytest.fixture(scope="module")
def fitted(prior: Prior) -> ChangeDetector:
    return METHOD.fit(prior, *pairs(12), **QUIET)


def test_what_is_easy_is_found(prior: Prior, fitted: ChangeDetector) -> None:
    before, after, truth = (v[8:] for v in pairs(16))
    found = METHOD.apply(prior, before, after, fitted, **QUIET)
    assert METHOD.evaluate(found.labels, truth)["f1"] > 0.9
    torch.testing.assert_close(found.labels, (found.probability[:, 0] > 0.5).long())


def test_equal_dates_under_one_noise_differ_nowhere(prior: Prior) -> None:
    """Every difference is then exactly zero, so that the picture does not matter; with two it does."""
    image = torch.rand(2, 3, 16, 16, generator=generator()) * 2 - 1
    for one in (True, False):
        reader = Reader(prior, (0.9, 0.5), (0, 2), one)
        fields = reader.fields(image, [1, 2])
        a, b = (list(reader.read(image, noise)) for noise in fields)
        same = all(
            torch.equal(x, y)
            for left, right in zip(a, b, strict=True)
            for x, y in zip(left, right, strict=True)
        )
        assert same is one


def test_levels_are_read_at_the_nearest_timestep(prior: Prior) -> None:
    signal = prior.process.alpha[[5, 40]].tolist()
    assert Reader(prior, tuple(signal), (0,), False).timesteps == [5, 40]
    exploding = replace(prior, config=replace(prior.config, process=ProcessConfig("ve", T=50)))
    sigma = exploding.process.sigma[20]
    level = float((1 + sigma * sigma) ** -0.5)  # as much of the picture is left, next to that noise
    assert Reader(exploding, (level,), (0,), False).timesteps == [20]


def test_adding_level_by_level_is_the_convolution_of_all_and_the_finest_block_counts() -> None:
    maps = [[torch.randn(1, 4, 4, 4, generator=generator(k)), torch.randn(1, 6, 8, 8)] for k in range(3)]
    torch.manual_seed(0)
    head = ChangeHead(HeadConfig((4, 6), 3)).double()
    dates = [[m.double() for m in level] for level in maps]
    joined = [torch.cat(column, 1) for column in zip(*dates, strict=True)]
    naive = [part.block(m) for part, m in zip(head.decoder[::2], joined, strict=True)]  # pyright: ignore
    for ours, theirs in zip(head.gather(dates), naive, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
    other = [[a, b + 1] for a, b in dates]
    alive, dead = head, ChangeHead(HeadConfig((4, 6), 3, reference=True)).double()
    dead.load_state_dict(head.state_dict())
    assert not torch.equal(alive(dates, dates), alive(dates, other))
    assert torch.equal(dead(dates, dates), dead(dates, other))
    alive(dates, other).sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in alive.decoder[2].parameters())


def test_unlabelled_pixels_teach_nothing(prior: Prior, fitted: ChangeDetector) -> None:
    """Whatever lies below 255 stays out of the loss, and a pair without labels out of the training."""
    before, after, truth = pairs(12)
    partial = truth.clone()
    partial[:, :, 8:] = 255
    brief = replace(METHOD, training=TrainerConfig(3, 4))
    one = brief.fit(prior, before, after, partial, **QUIET)
    more = [torch.cat([v, v[:1]]) for v in (before, after)]
    unlabelled = torch.cat([partial, torch.full_like(partial[:1], 255)])
    other = brief.fit(prior, *more, unlabelled, **QUIET)
    assert one.hash == other.hash != brief.fit(prior, before, after, truth, **QUIET).hash
    wrong = 1 - truth[:1]
    wrong[truth[:1] == 1] = 255
    found = METHOD.evaluate(torch.zeros_like(wrong), torch.where(wrong == 1, 0, wrong))
    assert found == {"f1": 0, "iou": 0, "precision": 0, "recall": 0, "accuracy": 1}


def test_kept_features_are_those_that_are_read_anew(prior: Prior) -> None:
    """With one pair the noise differs alone; with no noise to speak of, both trainings are one."""
    quiet = replace(METHOD, signal_levels=(1 - 1e-9,), training=TrainerConfig(2, 4))
    still = replace(prior, config=replace(prior.config, process=ProcessConfig(T=100, low=1e-12, high=1e-12)))
    fresh = quiet.fit(still, *pairs(6), **QUIET)
    kept = replace(quiet, kept=2).fit(still, *pairs(6), **QUIET)
    pairs_ = zip(fresh.network.parameters(), kept.network.parameters(), strict=True)
    assert max(float((a - b).abs().mean()) for a, b in pairs_) < 1e-5


def test_pairs_are_made_apart_by_index_and_the_best_threshold_is_found() -> None:
    few, more = photo_pairs("test", 2, 3), photo_pairs("test", 3, 3)
    assert torch.equal(few.after, more.after[:2])
    assert bool(more.labels.flatten(1).any(1).all())
    truth = torch.arange(1000).reshape(1, 10, 100) >= 700
    assert threshold(truth * 0.5 + torch.linspace(0, 0.4, 1000).reshape(1, 10, 100), truth.long()) < 0.79


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"blocks": (0, 9)}, "4 decoder blocks"),
        ({"blocks": ()}, "4 decoder blocks"),
        ({"signal_levels": (1.0,)}, "between 0"),
    ],
)
def test_what_cannot_be_is_said(prior: Prior, changes: dict[str, tuple[int, ...]], sentence: str) -> None:
    before, after, truth = pairs(2)
    with pytest.raises(UserError, match=sentence):
        replace(METHOD, **changes).fit(prior, before, after, truth, **QUIET)
    with pytest.raises(UserError, match="give 0 where nothing changed"):
        METHOD.fit(prior, before, after, truth * 3, **QUIET)
    with pytest.raises(UserError, match="every pixel is unlabelled"):
        METHOD.fit(prior, before, after, torch.full_like(truth, 255), **QUIET)
    with pytest.raises(UserError, match="pairs of one size"):
        METHOD.fit(prior, before, after[:1], truth, **QUIET)


def test_larger_pictures_are_cut_into_tiles_without_seams(prior: Prior, fitted: ChangeDetector) -> None:
    before, after, _ = pairs(2, 28, 40)
    large = replace(METHOD, tiled=True)
    found = large.apply(prior, before, after, fitted, **QUIET)
    assert found.labels.shape == (2, 28, 40)
    assert large.evaluate(found.labels, (after[:, 0] == 1).long())["f1"] > 0.8
    fit = replace(large, training=TrainerConfig(1, 4)).fit(
        prior, before, after, (after[:, 0] == 1).long(), **QUIET
    )
    assert fit.shape == (3, 16, 16)
    with pytest.raises(UserError, match="set tiled where they are larger"):
        METHOD.apply(prior, before, after, fitted, **QUIET)
