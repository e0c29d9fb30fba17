"""Sampling patterns of k-space against those of Score-MRI's code, from its own draws."""

from __future__ import annotations

from typing import Any

import torch

from headwater.operators.acquisition import calibration_block, mark


def test_masks_of_the_reference_from_its_own_draws(golden: Any) -> None:
    ref = golden("score-mri/masks_and_tables")
    tape = list(ref.under("noise").values())
    for name, mask in ref.config["masks"].items():
        size, wanted = mask["size"], ref[f"out/mask_{name}"] > 0.5
        lines = mask["type"].endswith("1d")
        centre = calibration_block(size, size, mask["cf"] if lines else 0.0, lines)
        draws = [tape.pop(0)] * 2 if mask["fix"] else [tape.pop(0), tape.pop(0)]
        for draw, one in zip(draws, wanted[:, 0], strict=True):
            if mask["type"] == "gaussian1d":
                at = (size // 2 + size * 15 / 128 * draw.double(),)
            elif mask["type"] == "gaussian2d":
                at = tuple((size // 2 + (size * size * 1.5 / 128) ** 0.5 * draw.double()).T)
            elif mask["type"] == "uniform1d":
                at = (draw,)
            else:
                at = draw // size, draw % size
            assert torch.equal(mark(centre, *at), one), name
