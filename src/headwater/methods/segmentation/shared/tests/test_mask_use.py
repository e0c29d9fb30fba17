"""SegDiff and implicit ensembles as their users meet them: fit, keep, draw, what they say to wrong data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from headwater.errors import UserError
from headwater.methods.segmentation.implicit_ensembles.method import (
    ImplicitEnsembles,
)
from headwater.methods.segmentation.segdiff.method import SegDiff
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.nets.image_conditioned import SummedUNet
from headwater.sampling import Run
from headwater.training import TrainerConfig

BRIEF = TrainerConfig(steps=3, batch_size=4, lr=1e-3)
SMALL: dict[str, Any] = {
    "network": UNetArchitecture(32, (1,), 1, (), use_scale_shift_norm=False),
    "training": BRIEF,
}
SEGDIFF = SegDiff(encoder_blocks=1, encoder_width=8, encoder_growth=4, steps=5, samples=3, **SMALL)
IMPLICIT = ImplicitEnsembles(steps=5, samples=3, **SMALL)
QUIET = Run(seed=1, progress=False)


def pictures(n: int, classes: int = 2) -> tuple[Tensor, Tensor]:
    """Pictures of a bright square on noise, and its mask."""
    generator = torch.Generator().manual_seed(n)
    labels = torch.zeros(n, 8, 8, dtype=torch.long)
    for i, (top, left) in enumerate(torch.randint(5, (n, 2), generator=generator).tolist()):
        labels[i, top : top + 4, left : left + 4] = 1 + i % (classes - 1)
    noise = 0.1 * torch.randn(n, 3, 8, 8, generator=generator)
    return (noise + labels[:, None] / (classes - 1) * 1.6 - 0.8).clamp(-1, 1), labels


@pytest.mark.parametrize(
    "method",
    [SEGDIFF, replace(SEGDIFF, condition="concatenate"), IMPLICIT]
    + [replace(method, predicts="v") for method in (SEGDIFF, IMPLICIT)],
)
@pytest.mark.parametrize("classes", [2, 3])
def test_fit_and_draw(method: Any, classes: int) -> None:
    image, labels = pictures(6, classes)
    fitted = method.fit(image, labels, **QUIET)
    found = method.apply(image, fitted, **QUIET)
    channels = 1 if classes == 2 else classes
    assert found.samples.shape == (6, 3, channels, 8, 8)
    assert found.labels.shape == (6, 8, 8)
    assert found.mean.shape == found.variance.shape == (6, 1, 8, 8)
    assert int(found.labels.max()) < classes
    mean = found.samples.mean(1)
    expected = (mean[:, 0] > 0.5).long() if classes == 2 else mean.argmax(1)
    assert torch.equal(found.labels, expected)
    assert fitted.denoiser.predicts == method.predicts
    assert set(method.evaluate(found.labels, labels)) == {
        "miou", "dice", "iou", "boundary_f1", "weighted_coverage", "wcov_area",
    }  # fmt: skip


def test_learns_a_square_and_more_samples_help() -> None:
    image, labels = pictures(64)
    how = TrainerConfig(steps=150, batch_size=16, lr=3e-3, decay="cosine")
    method = replace(SEGDIFF, training=how, steps=10, samples=9, clip=(-1, 1), variance="small")
    fitted = method.fit(image, labels, **QUIET)
    test, truth = pictures(17)
    found = method.apply(test, fitted, **QUIET)
    alone = (found.samples[:, 0, 0] > 0.5).long()
    nine, one = (method.evaluate(v, truth)["dice"] for v in (found.labels, alone))
    assert nine > 0.85
    assert nine > one + 0.05
    # What the network was never shown is where the samples disagree.
    wrong = (found.labels != truth)[:, None]
    assert float(found.variance[wrong].mean()) > 1.3 * float(found.variance[~wrong].mean())


def test_pictures_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    image, labels = pictures(5)
    fitted, seen = SEGDIFF.fit(image, labels, **QUIET), []
    encode: Callable[..., Tensor] = SummedUNet.encode
    monkeypatch.setattr(SummedUNet, "encode", lambda net, x: seen.append(len(x)) or encode(net, x))
    SEGDIFF.apply(image, fitted, **replace(QUIET, batch_size=4))
    assert sum(seen) == 5  # not 5 pictures x 3 samples x 5 steps


@pytest.mark.parametrize("method", [SEGDIFF, IMPLICIT])
def test_training_is_resumed_and_mirrored_by_the_seed_alone(method: Any, tmp_path: Path) -> None:
    image, labels = pictures(6)
    before = image.clone()
    whole = method.fit(image, labels, **QUIET).network.state_dict()
    assert torch.equal(image, before)  # the reference overwrites the caller's masks
    kept = replace(QUIET, checkpoint_dir=tmp_path / "work")
    again = method.fit(image, labels, **kept).network.state_dict()
    assert all(torch.equal(whole[k], again[k]) for k in whole)
    other = replace(method, mirror=not method.mirror).fit(image, labels, **QUIET).network.state_dict()
    assert any(not torch.equal(whole[k], other[k]) for k in whole)


def test_soft_masks_and_options() -> None:
    image, labels = pictures(6)
    soft = labels[:, None].float() * 0.7
    fitted = SEGDIFF.fit(image, soft, **QUIET)
    assert fitted.config.classes == 2
    assert torch.equal(fitted.encode(soft), 2 * soft - 1)
    centred = replace(IMPLICIT, background=-1.0, clip=None)
    assert torch.equal(centred.fit(image, labels, **QUIET).encode(labels), 2 * labels[:, None].float() - 1)
    rows = [
        replace(IMPLICIT, bound_weight=w).fit(image, labels, **QUIET).network.state_dict()["out.2.weight"][1]
        for w in (1.0, 0.0)
    ]
    assert float(rows[0].abs().max()) > 0
    assert float(rows[1].abs().max()) == 0  # without the bound nothing trains the variance
    one = replace(SEGDIFF, samples=1).apply(image, fitted, **QUIET)
    assert float(one.variance.abs().max()) == 0


def test_says_what_to_do() -> None:
    image, labels = pictures(6)
    unlabelled = torch.where(labels == 1, 255, labels)
    deep = replace(SEGDIFF, channel_mult=(1,) * 5)
    for method, picture, mask, word in (
        (SEGDIFF, image, labels[:3], "one mask of the same size"),
        (SEGDIFF, image, labels[:, :4], "one mask of the same size"),
        (SEGDIFF, image[:0], labels[:0], "no picture"),
        (SEGDIFF, image, unlabelled, "no class"),
        (SEGDIFF, image, labels[:, None] * 3.0, "scale them"),
        (SEGDIFF, image, labels[:, None].float().expand(-1, 2, -1, -1), "one channel"),
        (deep, image, labels, "multiples of 16"),
        (replace(SEGDIFF, T=10), image, labels, "21 or more"),
        (replace(IMPLICIT, background=1.0), image, labels, "background"),
    ):
        with pytest.raises(UserError, match=word):
            method.fit(picture, mask, **QUIET)
    fitted = SEGDIFF.fit(image, labels, **QUIET)
    with pytest.raises(UserError, match="resize the pictures or fit again"):
        SEGDIFF.apply(image[..., :4], fitted, **QUIET)
    with pytest.raises(UserError, match="give a number from 1 to 100"):
        replace(SEGDIFF, steps=101).apply(image, fitted, **QUIET)
    with pytest.raises(UserError, match="at least one"):
        replace(SEGDIFF, samples=0).apply(image, fitted, **QUIET)
