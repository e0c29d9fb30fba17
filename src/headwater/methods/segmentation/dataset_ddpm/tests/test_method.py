"""DatasetDDPM: what is drawn, dropped and kept, and a segmenter that needs no prior any more."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import headwater.methods.segmentation.dataset_ddpm.method as room
from closed_form import halves
from contract.specimens import network_prior, tiny
from headwater.errors import UserError
from headwater.methods.segmentation.dataset_ddpm.method import DatasetDDPM
from headwater.methods.segmentation.ddpm_segmentation.method import DDPMSegmentation, PixelClassifiers
from headwater.methods.segmentation.shared.supervised import SupervisedUNet, eight_bits, from_eight_bits
from headwater.models import Prior
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.sampling import Run

QUIET = Run(progress=False, batch_size=2)
METHOD: DatasetDDPM = replace(tiny("dataset-ddpm"), samples=6, drop=0.4, classes=3)
PRIOR = network_prior((3, 16, 16))


@pytest.fixture(scope="module")
def classifiers() -> PixelClassifiers:
    seg = DDPMSegmentation(steps=(4,), blocks=(0, 1), ensemble=2, epochs=1, smallest=1, classes=3)
    return seg.fit(PRIOR, *halves(2), **QUIET)


def test_only_the_most_uncertain_pictures_are_dropped(classifiers: PixelClassifiers) -> None:
    every, labels = replace(METHOD, drop=0.0).pairs(PRIOR, classifiers, QUIET)
    assert every.dtype == labels.dtype == torch.uint8
    assert (every.shape, labels.shape) == ((6, 3, 16, 16), (6, 16, 16))
    found = DDPMSegmentation().apply(PRIOR, from_eight_bits(every), classifiers, **QUIET)
    assert torch.equal(found.labels, labels.long())
    some, maps = METHOD.pairs(PRIOR, classifiers, QUIET)
    kept = found.score.argsort(stable=True)[:4].sort().values  # the floor of 6 x 0.4 go
    assert torch.equal(some, every[kept])
    assert torch.equal(maps, labels[kept])
    for wrong, words in (({"drop": 1.0}, "share from 0"), ({"samples": 0}, "at least one picture")):
        with pytest.raises(UserError, match=words):
            replace(METHOD, **wrong).fit(PRIOR, *halves(2), **QUIET)


def test_pairs_are_streamed_and_go_on_where_they_stopped(
    classifiers: PixelClassifiers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = METHOD.pairs(PRIOR, classifiers, QUIET)
    monkeypatch.setattr(room, "CHUNK", 4)
    asked: list[int] = []
    draw = Prior.sample

    def stopped(self: Prior, n: int, *words: Any, **how: Any) -> Any:
        asked.append(n)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return draw(self, n, *words, **how)

    monkeypatch.setattr(Prior, "sample", stopped)
    run = replace(QUIET, checkpoint_dir=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        METHOD.pairs(PRIOR, classifiers, run)
    again = METHOD.pairs(PRIOR, classifiers, run)
    assert asked == [4, 2, 2]  # never all at once, and the first four not again
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))
    METHOD.pairs(PRIOR, classifiers, replace(run, seed=1))
    assert asked == [4, 2, 2, 4, 2]  # what lies there is another seed's


def test_the_segmenter_knows_all_classes_of_the_task_and_needs_no_prior(
    classifiers: PixelClassifiers, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="multiples of 32"):  # before anything is drawn
        replace(METHOD, network=UNetArchitecture(32, (1,) * 6, 1, ())).fit(PRIOR, *halves(2), **QUIET)
    fitted = METHOD.fit(PRIOR, *halves(2), **QUIET)
    assert fitted.network(torch.zeros(1, 3, 16, 16), torch.zeros(1)).shape == (1, 3, 16, 16)
    fitted.save_pretrained(tmp_path / "kept")
    image = halves(3)[0]
    one = METHOD.apply(image, type(fitted).from_pretrained(tmp_path / "kept"), **QUIET)
    assert torch.equal(one, METHOD.apply(image, fitted, **replace(QUIET, batch_size=1)))
    with pytest.raises(UserError, match="resize them"):
        METHOD.apply(image[..., :8], fitted, **QUIET)


def test_a_segmenter_learns_the_same_from_eight_bits() -> None:
    image, labels = halves(4)
    image = from_eight_bits(eight_bits(image))
    sizes = {"kind": "adm", **asdict(METHOD.network)}
    learner = SupervisedUNet(METHOD.training, shift=0, mirror=False, hue=False)
    both = (
        learner.fit(sizes, *pairs, **QUIET)
        for pairs in ((image, labels), (eight_bits(image), labels.to(torch.uint8)))
    )
    one, other = (fitted.network.state_dict()["out.2.bias"] for fitted in both)
    assert torch.equal(one, other)
