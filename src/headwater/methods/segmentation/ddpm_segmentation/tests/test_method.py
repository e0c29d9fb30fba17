"""Pixel classifiers where the answer is known, and the studies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from closed_form import halves
from headwater.errors import UserError
from headwater.methods.segmentation.ddpm_segmentation.method import (
    DDPMSegmentation,
    block_step_grid,
    feature_clusters,
    predict,
    read_features,
    usable,
)
from headwater.models import Prior, PriorConfig
from headwater.nets.pixel_ensemble import PixelEnsemble, PixelFeatures
from headwater.sampling import Run

QUIET = Run(progress=False)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def prior() -> Prior:
    """A tiny untrained U-Net with four decoder blocks."""
    net = {"kind": "adm", "in_channels": 3, "out_channels": 3, "model_channels": 32, "channel_mult": [1, 2]}
    config = PriorConfig({**net, "num_res_blocks": 1, "attention_resolutions": []}, (3, 16, 16))
    torch.manual_seed(0)
    return Prior(config.build_network().eval(), config)


def test_maps_are_kept_once_in_half_precision_and_looked_up_where_they_were_read_into(prior: Prior) -> None:
    image, labels = halves(3)
    noise, batches = torch.zeros(1, 3, 16, 16), Run(batch_size=2, progress=False)
    maps = read_features(prior, image, [5, 50], [0, 1], noise, batches, torch.float16)
    assert {m.dtype for m in maps} == {torch.float16}
    kept = PixelFeatures(maps, (16, 16))
    assert [rows.data_ptr() for _, rows in kept.maps] == [m.data_ptr() for m in maps]
    whole = PixelFeatures(read_features(prior, image, [5, 50], [0, 1], noise, QUIET), (16, 16))
    pixel = torch.arange(0, 3 * 256, 7)
    found, exact = kept(pixel), whole(pixel)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, atol=2e-3 * float(exact.abs().max()), rtol=0)
    method = DDPMSegmentation(steps=(20,), blocks=(2, 3), ensemble=2, epochs=6, smallest=1, stored="float16")
    fitted = method.fit(prior, image, labels, **QUIET)
    assert fitted.network.weights[0].dtype == torch.float32
    assert method.evaluate(method.apply(prior, image, fitted, **QUIET).labels, labels)["accuracy"] > 0.8


def test_one_noise_for_all_images_and_steps(prior: Prior) -> None:
    same, noise = torch.zeros(3, 3, 16, 16), torch.randn(1, 3, 16, 16, generator=generator())
    maps = read_features(prior, same, [5, 900], [0, 3], noise, Run(batch_size=2))
    assert [m.shape[1] for m in maps] == [64, 32, 64, 32]
    for found in maps:
        torch.testing.assert_close(found[0], found[2])
    assert not torch.allclose(maps[0], maps[2])
    fitted = DDPMSegmentation(steps=(10,), blocks=(3, 1), ensemble=1, epochs=1).fit(
        prior, *halves(2), **QUIET
    )
    assert fitted.config.blocks == (1, 3)


def test_agreement_and_disagreement_of_members() -> None:
    """Weights and batch statistics far from their initial values."""
    three = PixelEnsemble(3, 3, 4).double().eval()
    state = {k: v for k, v in three.state_dict().items() if v.ndim}
    for i, (name, value) in enumerate(state.items()):
        value.uniform_(generator=generator(i)).add_(0.5 * ("var" in name))
    maps = [torch.randn(2, 3, 15, 7, generator=generator(), dtype=torch.float64)]
    found = predict(three, maps, (15, 7))
    score = found.uncertainty.flatten(1).sort().values[:, -10:].mean(1)
    torch.testing.assert_close(found.score, score)
    for value in state.values():  # every member becomes the first one
        value.view(3, -1)[1:] = value.view(3, -1)[0].clone()
    found = predict(three, maps, (15, 7))
    assert found.uncertainty.max() < 1e-12
    assert torch.equal(found.labels, three.logits(0, maps, (15, 7)).argmax(1))
    certain = PixelEnsemble(2, 1, 2).double().eval()
    with torch.no_grad():
        certain.biases[2].copy_(torch.tensor([[1000.0, 0.0], [0.0, 1000.0]]))
    found = predict(certain, [torch.zeros(1, 1, 3, 3, dtype=torch.float64)], (3, 3))
    torch.testing.assert_close(found.uncertainty, torch.full_like(found.uncertainty, 2).log())
    assert not found.labels.any(), "a tie goes to the smallest label"


def test_one_hot_features_are_learned_perfectly() -> None:
    truth = torch.randint(3, (6, 8, 8), generator=generator())
    maps = F.one_hot(truth, 3).permute(0, 3, 1, 2).float()
    method = DDPMSegmentation(ensemble=3, epochs=20, pixels=32, smallest=1)
    ensemble = method.fit_maps([maps[:3]], truth[:3], QUIET)
    assert method.evaluate(predict(ensemble, [maps[3:]], (8, 8)).labels, truth[3:])["miou"] == 1


class Counted(Run):
    """Remembers how many steps were taken."""

    def track(self, steps: Iterable[Any], label: str = "", total: int | None = None) -> Iterator[Any]:
        taken.clear()
        for step in steps:
            taken.append(step)
            yield step


taken: list[int] = []


def fit_few(truth: Tensor, members: int, seed: int = 0) -> PixelEnsemble:
    """On 64 pixels in batches of 16, up to 40 passes."""
    maps = [torch.randn(1, 2, 8, 8, generator=generator(1))]
    method = DDPMSegmentation(ensemble=members, epochs=40, pixels=16, patience=3, smallest=1)
    return method.fit_maps(maps, truth, Counted(seed))


def test_training_stops_after_patience_plus_one_minibatches_without_a_new_minimum() -> None:
    # With one class every loss is 0: the first one after four passes is the last new minimum.
    fit_few(torch.zeros(1, 8, 8, dtype=torch.long), members=2)
    assert len(taken) == 4 * 4 + 1 + 3 + 1


def test_a_member_depends_on_seed_and_index_alone_and_stops_by_its_own_losses() -> None:
    truth = torch.randint(2, (1, 8, 8), generator=generator())
    alone = fit_few(truth, members=1)
    stopped = len(taken)
    together = fit_few(truth, members=6)
    assert len(taken) > stopped, "choose other data: no other member goes on for longer"
    torch.testing.assert_close(together.weights[0][:1], alone.weights[0], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(fit_few(truth, 1, seed=1).weights[0], alone.weights[0], atol=1e-3)


def test_slips_are_masked_and_labels_left_alone() -> None:
    labels = torch.zeros(2, 10, 10, dtype=torch.long)
    labels[0, 0, :5], labels[1, 0, :9], labels[1, 5] = 1, 1, 255
    before = labels.clone()
    used = usable(labels, ignore=255, smallest=6)
    assert torch.equal(labels, before)
    assert used.flatten(1).sum(1).tolist() == [95, 90]
    assert not used[0, 0, :5].any()


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (DDPMSegmentation(), "4 decoder blocks"),
        (DDPMSegmentation(blocks=(1,), steps=(1000,)), "1000 steps"),
        (DDPMSegmentation(blocks=()), "at least one"),
        (DDPMSegmentation(blocks=(1,), smallest=300), "lower smallest"),
        (DDPMSegmentation(blocks=(1,), ensemble=0), "1 or more"),
        (DDPMSegmentation(blocks=(1,), pixels=1), "2 or more"),
    ],
)
def test_wrong_settings_are_refused(prior: Prior, method: DDPMSegmentation, sentence: str) -> None:
    truth = torch.zeros(1, 16, 16, dtype=torch.long)
    with pytest.raises(UserError, match=sentence):
        method.fit(prior, torch.zeros(1, 3, 16, 16), truth)
    with pytest.raises(UserError, match="ignore"):
        method.evaluate(truth, torch.full_like(truth, 255))


def test_studies(prior: Prior) -> None:
    image, labels = halves(3)
    method = DDPMSegmentation(ensemble=1, epochs=1, smallest=1)
    pairs = ((image[:2], labels[:2]), (image[2:], labels[2:]))
    grid = block_step_grid(method, prior, *pairs, (10, 500), (3, 0), QUIET)
    assert grid.shape == (2, 2)
    assert ((grid >= 0) & (grid <= 1)).all()
    assert feature_clusters(prior, image, 10, 0, 4, Run()).unique().tolist() == [0, 1, 2, 3]


def test_features_of_a_network_of_ones_own(prior: Prior) -> None:
    image, labels = halves(4)
    mine = [F.avg_pool2d(image, 2), image.flip(1)]  # two resolutions
    method = DDPMSegmentation(ensemble=2, epochs=6, smallest=1)
    fitted = method.fit(None, image[:3], labels[:3], [m[:3] for m in mine], **QUIET)
    assert fitted.config.dim == 6
    found = method.apply(None, image, fitted, mine, **replace(QUIET, batch_size=3))
    assert method.evaluate(found.labels[3:], labels[3:])["accuracy"] > 0.8
    alone = method.apply(None, image[3:], fitted, [m[3:] for m in mine], **QUIET)
    assert torch.equal(alone.labels[0], found.labels[3])
    read = replace(method, blocks=(0,), steps=(5,)).fit(prior, image, labels, **QUIET)
    for words, call in {
        "give a prior, or features": lambda: method.fit(None, image, labels),
        "for 4 pictures: give maps": lambda: method.fit(None, image, labels, [mine[0][:2]]),
        "of your own: give them too": lambda: method.apply(prior, image, fitted),
        "another network's features": lambda: method.apply(None, image, fitted, mine[:1]),
        "leave features out": lambda: method.apply(prior, image, read, mine),
    }.items():
        with pytest.raises(UserError, match=words):
            call()


def test_classes_have_names_and_colours() -> None:
    truth = torch.tensor([[[0, 1, 2, 255]]])
    named = DDPMSegmentation(names=("sky", "sea", "ship", "shore")).evaluate(truth.clamp(max=2), truth)
    assert [key for key in named if key.startswith("iou_")] == ["iou_sky", "iou_sea", "iou_ship", "iou_shore"]
    assert named["miou_reference"] == pytest.approx((1 + 1 + 0.5 + 0) / 4)
    for wrong, words in (
        ({"names": ("a", "a")}, "two classes have one name"),
        ({"names": ("a", "b"), "classes": 3}, "2 names for 3 classes"),
        ({"palette": ("#12345",)}, "is no colour"),
    ):
        with pytest.raises(UserError, match=words):
            DDPMSegmentation(**wrong)


def test_classes_are_those_of_the_task_where_it_says_so():
    truth = torch.tensor([[[0, 0, 2, 255], [0, 0, 2, 7]]])
    labels = torch.tensor([[[0, 0, 2, 0], [0, 2, 2, 0]]])
    found = DDPMSegmentation(ignore=7).evaluate(labels, truth)  # 255 is no class, whatever is ignored beside
    assert found["miou"] == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert found["iou_2"] == pytest.approx(2 / 3)
    assert math.isnan(found["iou_1"])
    some = DDPMSegmentation(ignore=7, classes=6).evaluate(labels, truth)
    assert some["miou"] == found["miou"]
    assert some["miou_reference"] == pytest.approx(found["miou_reference"] * 3 / 6)
    with pytest.raises(UserError, match="a label is 2 where there are 2 classes: raise classes"):
        DDPMSegmentation(ignore=7, classes=2).evaluate(labels, truth)
