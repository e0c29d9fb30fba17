"""The distance of a prior's features: nothing for the same picture, more for more of a change."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from headwater.data import load
from headwater.models import Prior
from headwater.models.likeness import feature_distance


def test_it_is_zero_for_the_same_picture_and_grows_with_blur() -> None:
    prior, truth = Prior.from_pretrained("emoji"), load("emoji", "test", 32).images[:4]
    blurred = [F.interpolate(F.avg_pool2d(truth, k), scale_factor=k, mode="bicubic") for k in (2, 4)]
    same, little, much = (feature_distance(prior, x, truth) for x in (truth, *blurred))
    assert same.shape == (4,)
    assert float(same.abs().max()) == 0
    assert bool((same < little).all())
    assert bool((little < much).all())
    # One field of noise for all: a picture's distance is its own, whatever is beside it.
    alone = feature_distance(prior, blurred[0][2:3], truth[2:3])
    torch.testing.assert_close(alone, little[2:3], rtol=1e-4, atol=1e-6)
