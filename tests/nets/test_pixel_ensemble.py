"""Classifying pixels without the stack of their features equals classifying the stack."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.bench.naive_features import feature_stack, naive_logits
from headwater.nets.pixel_ensemble import PixelEnsemble, PixelFeatures


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_ensemble(members: int, dim: int, classes: int) -> PixelEnsemble:
    """Weights and batch statistics far from their initial values."""
    ensemble, dtype = PixelEnsemble(members, dim, classes).double(), torch.float64
    state = {
        k: v if v.ndim == 0 else torch.rand(v.shape, generator=generator(i), dtype=dtype) + 0.5 * ("var" in k)
        for i, (k, v) in enumerate(ensemble.state_dict().items())
    }
    ensemble.load_state_dict(state)
    return ensemble.eval()


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4
    ),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    classes=st.sampled_from([2, 30]),
)
def test_resizing_commutes_with_the_first_layer_and_is_what_lookups_do(
    sizes: list[tuple[int, int, int]], size: tuple[int, int], classes: int
) -> None:
    maps = [torch.randn(2, *s, generator=generator(i), dtype=torch.float64) for i, s in enumerate(sizes)]
    ensemble = random_ensemble(2, sum(s[0] for s in sizes), classes)
    ours = torch.stack([ensemble.logits(k, maps, size) for k in range(2)])
    torch.testing.assert_close(ours, naive_logits(ensemble, maps, size), atol=1e-10, rtol=1e-10)
    found = PixelFeatures(maps, size)(torch.arange(2 * size[0] * size[1]).view(2, *size))
    torch.testing.assert_close(found.permute(0, 3, 1, 2), feature_stack(maps, size), atol=1e-12, rtol=0)


def test_looking_pixels_up_keeps_to_the_device_of_the_maps():
    maps = [torch.zeros(2, 4, 8, 8, device="meta"), torch.zeros(2, 3, 16, 16, device="meta")]
    features = PixelFeatures(maps, (16, 16))
    taps = [tap for axes in features.axes.values() for axis in axes for tap in axis]
    assert {tap.device.type for tap in taps} == {"meta"}
    assert features(torch.zeros(5, dtype=torch.long, device="meta")).device.type == "meta"
