"""Otsu's threshold and Frangi's filter against scikit-image's."""

from __future__ import annotations

import numpy as np
import torch

from headwater.baselines.vessels import frangi, otsu
from headwater.data import load


def test_otsus_threshold_parts_pictures_as_scikit_image_does() -> None:
    from skimage.filters import threshold_otsu

    x = load("textures", "test", 64).images[:6]
    theirs = torch.tensor([threshold_otsu(one.numpy()) for one in x])
    spread = x.flatten(1).max(1).values - x.flatten(1).min(1).values
    assert bool(((otsu(x) - theirs).abs() <= spread / 256).all())


def test_frangis_filter_finds_dark_tubes_as_scikit_image_does() -> None:
    from skimage.filters import frangi as reference

    rows = torch.arange(48.0)[:, None].expand(48, 48)
    line = 1 - 0.8 * torch.exp(-(rows - 20).square() / 4)
    noisy = line + 0.05 * torch.randn(48, 48, generator=torch.Generator().manual_seed(0))
    inner = np.s_[12:-12, 12:-12]  # edges are repeated otherwise there
    every = []
    for scale in (1, 2, 3):  # in a run over several, theirs takes c of the first for all
        theirs = reference(noisy.numpy(), sigmas=(scale,), black_ridges=True, mode="nearest")
        every.append(frangi(noisy[None, None], (scale,))[0, 0])
        assert np.abs(every[-1].numpy()[inner] - theirs[inner]).max() < 0.04
    ours = frangi(noisy[None, None])[0, 0]
    assert torch.equal(ours, torch.stack(every).max(0).values)
    assert ours[20, 12:-12].min() > 3 * ours[12:-12, 12:-12].median()
    assert frangi(-noisy[None, None])[0, 0, 20, 12:-12].max() < 0.05  # bright tubes are none
