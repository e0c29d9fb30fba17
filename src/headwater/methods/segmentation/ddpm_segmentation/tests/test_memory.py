"""Maps of labelled pictures are kept once, in half precision if asked for."""

from __future__ import annotations

from dataclasses import replace

import torch

from headwater.bench.network import prior
from headwater.methods.segmentation.ddpm_segmentation.decoder_features import read_features
from headwater.methods.segmentation.ddpm_segmentation.method import DDPMSegmentation
from headwater.methods.segmentation.ddpm_segmentation.pixel_features import PixelFeatures
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.noise import derive
from headwater.sampling import Run

SMALL = UNetArchitecture(model_channels=32, channel_mult=(1, 1), attention_resolutions=())


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """Noise whose bright columns are class 1."""
    image = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(derive(0, 1)))
    labels = torch.zeros(3, 16, 16, dtype=torch.int64)
    image[..., 8:] += 2
    labels[..., 8:] = 1
    return image, labels


def test_maps_are_looked_up_where_they_were_read_into() -> None:
    image, _ = pictures()
    noise, run = torch.zeros(1, 1, 16, 16), Run(batch_size=2, progress=False)
    model = prior(16, False, SMALL)
    maps = read_features(model, image, [5, 50], [0, 1], noise, run, torch.float16)
    assert {m.dtype for m in maps} == {torch.float16}
    kept = PixelFeatures(maps, (16, 16))
    assert [rows.data_ptr() for _, rows in kept.maps] == [m.data_ptr() for m in maps]
    whole = read_features(model, image, [5, 50], [0, 1], noise, Run(batch_size=3, progress=False))
    pixel = torch.arange(0, 3 * 256, 7)
    found, exact = kept(pixel), PixelFeatures(whole, (16, 16))(pixel)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, atol=2e-3 * float(exact.abs().max()), rtol=0)
    assert not torch.equal(found, exact)


def test_half_precision_learns_the_same() -> None:
    image, labels = pictures()
    model, run = prior(16, False, SMALL), Run(progress=False)
    learn = DDPMSegmentation(steps=(20,), blocks=(2, 3), ensemble=2, epochs=6, smallest=1)
    exact, half = (m.fit(model, image, labels, **run) for m in (learn, replace(learn, stored="float16")))
    assert half.network.weights[0].dtype == torch.float32
    found = [DDPMSegmentation().apply(model, image, f, **run).labels for f in (exact, half)]
    assert (found[0] == labels).float().mean() > 0.8
    assert (found[0] == found[1]).float().mean() > 0.9
