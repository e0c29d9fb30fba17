"""The mask families of RePaint."""

from __future__ import annotations

import pytest
import torch

from headwater.data.holes import FAMILIES, known_pixels


@pytest.mark.parametrize("family", FAMILIES)
def test_mask_families_are_reproducible_and_hide_something(family: str) -> None:
    first = known_pixels(family, 4, 32, 32, seed=5)
    assert torch.equal(first[:2], known_pixels(family, 2, 32, 32, seed=5))
    assert 0.2 < (~first).float().mean() < 0.8
