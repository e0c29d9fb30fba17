"""DatasetDDPM's parts: the filter, the labelled samples, the supervised network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from headwater.baselines.supervised import SupervisedUNet, course
from headwater.core import DDIM, descend
from headwater.errors import UserError
from headwater.methods.segmentation.ddpm_segmentation.dataset_ddpm import label_samples, most_certain
from headwater.methods.segmentation.ddpm_segmentation.method import DDPMSegmentation
from headwater.models import Prior, PriorConfig
from headwater.sampling import Run

QUIET = Run(progress=False)


@pytest.fixture
def prior() -> Prior:
    net = {"kind": "adm", "in_channels": 3, "out_channels": 3, "model_channels": 32, "channel_mult": [1, 2]}
    config = PriorConfig({**net, "num_res_blocks": 1, "attention_resolutions": []}, (3, 16, 16))
    torch.manual_seed(0)
    return Prior(config.build_network().eval(), config)


def halves(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise pictures whose brighter half is class 1."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.zeros(n, 16, 16, dtype=torch.long)
    for i, cut in enumerate(torch.randint(4, 12, (n,), generator=generator).tolist()):
        truth[i, cut:] = 1
    image = truth[:, None] - 0.5 + 0.2 * torch.randn(n, 3, 16, 16, generator=generator)
    return image.clamp(-1, 1), truth


def test_only_the_most_uncertain_tenth_goes() -> None:
    score = torch.tensor([0.5, 0.1, 0.9, 0.3, 0.8, 0.2, 0.4, 0.6, 0.7, 0.0, 0.05])
    kept = most_certain(score, 0.1)
    assert len(kept) == 10
    assert 2 not in kept.tolist(), "the most uncertain one goes"
    assert kept[0] == 9, "the most certain one stays"
    assert (score[kept].diff() >= 0).all()
    assert len(most_certain(score, 0.0)) == 11


def test_samples_are_labelled(prior: Prior) -> None:
    image, truth = halves(2)
    method = DDPMSegmentation(steps=(10,), blocks=(3,), ensemble=2, epochs=1)
    fitted = method.fit(prior, image, truth, **QUIET)
    plan = descend(prior.process.T, 3)
    found = label_samples(prior, fitted, 5, QUIET, drop=0.2, plan=plan, sampler=DDIM())
    assert found.image.shape == (4, 3, 16, 16)
    assert found.labels.shape == (4, 16, 16)
    assert (found.score.diff() >= 0).all()
    assert found.image.abs().max() <= 1
    with pytest.raises(UserError, match="share"):
        label_samples(prior, fitted, 5, QUIET, drop=1.0)


def test_the_supervised_network_learns_and_is_a_function_of_the_seed(prior: Prior, tmp_path: Path) -> None:
    image, truth = halves(6)
    recipe = SupervisedUNet(replace(course(40), batch_size=4))
    fitted = recipe.fit(prior.config, image[:4], truth[:4], **QUIET)
    fresh, answer = halves(4, seed=1)
    found = fitted.predict(fresh, **QUIET)
    assert (found == answer).double().mean() > 0.95
    short = SupervisedUNet(replace(course(2), batch_size=2))
    once, twice, other = (short.fit(prior.config, image, truth, seed=s, progress=False) for s in (3, 3, 4))
    first, second, third = (f.network.state_dict()["out.2.bias"] for f in (once, twice, other))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    kept = Run(3, progress=False, checkpoint_dir=tmp_path / "work")
    again = [short.fit(prior.config, image, truth, **kept).network.state_dict() for _ in range(2)]
    assert all(torch.equal(state["out.2.bias"], first) for state in again)
    with pytest.raises(UserError, match="another hue"):
        replace(short, hue=False).fit(prior.config, image, truth, **kept)


def test_ignored_pixels_do_not_count(prior: Prior) -> None:
    image, truth = halves(3)
    hidden = truth.clone()
    hidden[:, :2] = 255
    fitted = SupervisedUNet(course(1)).fit(prior.config, image, hidden, **QUIET)
    assert fitted.network(image, torch.zeros(3)).shape == (3, 2, 16, 16)
    with pytest.raises(UserError, match="ignore"):
        SupervisedUNet(course(1)).fit(prior.config, image, torch.full_like(truth, 255), **QUIET)


def test_pictures_and_labels_change_as_one() -> None:
    image, truth = halves(50)
    image = (truth[:, None].expand(-1, 3, -1, -1).float() - 0.5) * 2
    x, y = SupervisedUNet(hue=False).change(image, truth, torch.Generator().manual_seed(0))
    assert torch.equal(x[:, 0] > 0, y == 1)
    assert not torch.equal(y, truth)
