"""What the claims of defences are tested on, and what they train."""

from __future__ import annotations

import torch

from headwater.data import load
from headwater.methods.robustness.shared.pictures import PICTURES, concept, train_prior
from headwater.nets.perceptron import Perceptron


def test_training_the_prior_learns() -> None:
    images = load("tiny", "train").images
    eps = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    gaps = []
    for steps in (1, 100):
        prior = train_prior(images, 0, steps, progress=False)
        x = prior.process.combine(images[:64], eps, 200)
        with torch.no_grad():
            gaps.append(float((prior.denoiser(x, 200).x0 - images[:64]).square().mean()))
    assert gaps[1] < 0.8 * gaps[0]


def test_emoji_have_the_class_that_their_name_says_and_every_class_is_in_both_splits() -> None:
    names = ("grinning cat face", "woman running facing right", "ok button", "broken heart", "raising hands")
    assert [concept(name) for name in names] == ["face", "person", "button", None, "hand"]
    for split in ("train", "test"):
        images, labels = PICTURES["emoji"].labelled(split)
        assert images.shape[1:] == (3, 16, 16)
        assert labels.unique().tolist() == list(range(5))


def test_the_first_pictures_are_the_same_for_all() -> None:
    images, labels = PICTURES["digits"].first("test", 5)
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    more, classes = PICTURES["digits"].first("test", 8)
    assert torch.equal(more[:5], images)
    assert torch.equal(classes[:5], labels)


@torch.no_grad()
def test_a_skip_connection_carries_what_the_network_is_too_narrow_for() -> None:
    torch.manual_seed(0)
    x, t = torch.randn(2, 3, 4, 4), torch.tensor([3, 900])
    net = Perceptron(48, 16, skip=True)
    whole, net.skip = net(x, t), None
    ratio = (whole - net(x, t)) / x
    assert torch.allclose(ratio, ratio[:, :1, :1, :1].expand_as(ratio), atol=1e-4)
    assert abs(float(ratio[0].mean() - ratio[1].mean())) > 1e-3
