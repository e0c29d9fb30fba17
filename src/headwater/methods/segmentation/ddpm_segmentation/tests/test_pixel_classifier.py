"""Pixel classifiers where the answer is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from headwater.bench.naive_features import feature_stack, naive_logits
from headwater.errors import UserError
from headwater.methods.segmentation.ddpm_segmentation.decoder_features import read_features
from headwater.methods.segmentation.ddpm_segmentation.feature_study import (
    block_step_grid,
    feature_clusters,
    kmeans,
)
from headwater.methods.segmentation.ddpm_segmentation.method import DDPMSegmentation
from headwater.methods.segmentation.ddpm_segmentation.pixel_classifier import (
    PixelEnsemble,
    image_uncertainty,
    predict,
)
from headwater.methods.segmentation.ddpm_segmentation.pixel_features import PixelFeatures
from headwater.methods.segmentation.ddpm_segmentation.pixel_training import fit_pixels, usable
from headwater.models import Prior, PriorConfig
from headwater.sampling import Run


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_ensemble(
    members: int, dim: int, classes: int, dtype: torch.dtype = torch.float64
) -> PixelEnsemble:
    """Weights and batch statistics far from their initial values."""
    ensemble = PixelEnsemble(members, dim, classes).to(dtype)
    state = {
        k: v if v.ndim == 0 else torch.rand(v.shape, generator=generator(i), dtype=dtype) + 0.5 * ("var" in k)
        for i, (k, v) in enumerate(ensemble.state_dict().items())
    }
    ensemble.load_state_dict(state)
    return ensemble.eval()


@pytest.fixture
def prior() -> Prior:
    """A tiny untrained U-Net with four decoder blocks."""
    net = {"kind": "adm", "in_channels": 3, "out_channels": 3, "model_channels": 32, "channel_mult": [1, 2]}
    config = PriorConfig({**net, "num_res_blocks": 1, "attention_resolutions": []}, (3, 16, 16))
    torch.manual_seed(0)
    return Prior(config.build_network().eval(), config)


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4
    ),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    classes=st.sampled_from([2, 30]),
)
def test_first_layer_commutes_with_resizing(
    sizes: list[tuple[int, int, int]], size: tuple[int, int], classes: int
) -> None:
    maps = [torch.randn(2, *s, generator=generator(i), dtype=torch.float64) for i, s in enumerate(sizes)]
    ensemble = random_ensemble(2, sum(s[0] for s in sizes), classes)
    ours = torch.stack([ensemble.logits(k, maps, size) for k in range(2)])
    torch.testing.assert_close(ours, naive_logits(ensemble, maps, size), atol=1e-10, rtol=1e-10)


@settings(max_examples=20, deadline=None)
@given(h=st.integers(1, 9), w=st.integers(1, 9), size=st.tuples(st.integers(1, 12), st.integers(1, 12)))
def test_lookups_are_bilinear_resizing(h: int, w: int, size: tuple[int, int]) -> None:
    maps = [
        torch.randn(2, 3, h, w, generator=generator(), dtype=torch.float64),
        torch.rand(2, 1, 1, 1).double(),
    ]
    features = PixelFeatures(maps, size)
    pixel = torch.arange(2 * size[0] * size[1]).view(2, *size)
    torch.testing.assert_close(
        features(pixel).permute(0, 3, 1, 2), feature_stack(maps, size), atol=1e-12, rtol=0
    )


def test_identical_members_do_not_disagree() -> None:
    one = random_ensemble(1, 3, 4)
    twins = PixelEnsemble(5, 3, 4).double()
    twins.load_state_dict(
        {k: v.repeat(5, *[1] * (v.ndim - 1)) if v.ndim else v for k, v in one.state_dict().items()}
    )
    maps = [torch.randn(2, 3, 6, 6, generator=generator(), dtype=torch.float64)]
    labels, uncertainty = predict(twins.eval(), maps, (6, 6))
    assert uncertainty.max() < 1e-12
    assert torch.equal(labels, one.logits(0, maps, (6, 6)).argmax(1))


def test_certain_members_that_disagree_reach_the_bound() -> None:
    ensemble = PixelEnsemble(2, 1, 2).double().eval()
    with torch.no_grad():
        ensemble.biases[2].copy_(torch.tensor([[1000.0, 0.0], [0.0, 1000.0]]))
    labels, uncertainty = predict(ensemble, [torch.zeros(1, 1, 3, 3, dtype=torch.float64)], (3, 3))
    torch.testing.assert_close(uncertainty, torch.full_like(uncertainty, 2).log())
    assert not labels.any(), "a tie goes to the smallest label"


def test_one_hot_features_are_learnt_perfectly() -> None:
    truth = torch.randint(3, (6, 8, 8), generator=generator())
    maps = [F.one_hot(truth, 3).permute(0, 3, 1, 2).float()]
    method = DDPMSegmentation(ensemble=3, epochs=20, pixels=32, smallest=1)
    ensemble = fit_pixels(method, [maps[0][:3]], truth[:3], Run(progress=False))
    labels, _ = predict(ensemble, [maps[0][3:]], (8, 8))
    assert method.evaluate(labels, truth[3:])["miou"] == 1


def test_members_depend_on_seed_and_index_alone() -> None:
    truth = torch.randint(3, (2, 8, 8), generator=generator())
    maps = [torch.randn(2, 4, 4, 4, generator=generator(1))]

    def weights(members: int, seed: int) -> Tensor:
        method = DDPMSegmentation(ensemble=members, epochs=7, patience=2, pixels=16, smallest=1)
        return fit_pixels(method, maps, truth, Run(seed, progress=False)).weights[0]

    torch.testing.assert_close(weights(3, 0)[:2], weights(2, 0), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(weights(2, 0), weights(2, 1), atol=1e-3)
    assert torch.equal(weights(2, 0), weights(2, 0))


class Counted(Run):
    """Remembers how many steps were taken."""

    def track(self, steps: Iterable[Any], label: str = "", total: int | None = None) -> Iterator[Any]:
        taken.clear()
        for step in steps:
            taken.append(step)
            yield step


taken: list[int] = []


def fit_few(truth: Tensor, members: int, patience: int) -> PixelEnsemble:
    """On 64 pixels in batches of 16, up to 40 passes."""
    maps = [torch.randn(1, 2, 8, 8, generator=generator(1))]
    method = DDPMSegmentation(ensemble=members, epochs=40, pixels=16, patience=patience, smallest=1)
    return fit_pixels(method, maps, truth, Counted())


def test_training_stops_after_patience_plus_one_minibatches_without_a_new_minimum() -> None:
    # With one class every loss is 0: the first one after four passes is the last new minimum.
    fit_few(torch.zeros(1, 8, 8, dtype=torch.long), members=2, patience=3)
    assert len(taken) == 4 * 4 + 1 + 3 + 1


def test_a_member_stops_by_its_own_losses() -> None:
    truth = torch.randint(2, (1, 8, 8), generator=generator())
    alone = fit_few(truth, members=1, patience=3)
    stopped = len(taken)
    together = fit_few(truth, members=6, patience=3)
    assert len(taken) > stopped, "choose other data: no other member goes on for longer"
    torch.testing.assert_close(together.weights[0][:1], alone.weights[0], atol=1e-5, rtol=1e-4)


def test_slips_are_masked_and_labels_left_alone() -> None:
    labels = torch.zeros(2, 10, 10, dtype=torch.long)
    labels[0, 0, :5] = 1
    labels[1, 0, :9] = 1
    labels[1, 5] = 255
    before = labels.clone()
    used = usable(labels, ignore=255, smallest=6)
    assert torch.equal(labels, before)
    assert used[0].sum() == 95
    assert used[1].sum() == 90
    assert not used[0, 0, :5].any()


def test_image_uncertainty_is_the_mean_of_the_top_tenth() -> None:
    values = torch.arange(105.0)[torch.randperm(105, generator=generator())].view(1, 1, 15, 7)
    assert image_uncertainty(values).item() == pytest.approx(sum(range(95, 105)) / 10)


def test_fit_and_apply(prior: Prior) -> None:
    image = torch.rand(5, 3, 16, 16, generator=generator()) * 2 - 1
    truth = (image[:, 0] > 0).long()
    method = DDPMSegmentation(steps=(10, 90), blocks=(3, 1), ensemble=2, epochs=1, smallest=1)
    run = Run(7, batch_size=2, progress=False)
    fitted = method.fit(prior, image, truth, **run)
    found, same = (method.apply(prior, image, fitted, seed=9, batch_size=b, progress=False) for b in (5, 2))
    assert fitted.config.blocks == (1, 3)
    assert torch.equal(found.labels, same.labels)
    torch.testing.assert_close(found.uncertainty, same.uncertainty, atol=1e-5, rtol=0)
    assert found.labels.shape == (5, 16, 16)
    assert found.uncertainty.shape == (5, 1, 16, 16)
    assert found.score.shape == (5,)


def test_one_noise_for_all_pictures_and_steps(prior: Prior) -> None:
    same = torch.zeros(3, 3, 16, 16)
    noise = torch.randn(1, 3, 16, 16, generator=generator())
    maps = read_features(prior, same, [5, 900], [0, 3], noise, Run(batch_size=2))
    assert [m.shape[1] for m in maps] == [64, 32, 64, 32]
    for found in maps:
        torch.testing.assert_close(found[0], found[2])
    assert not torch.allclose(maps[0], maps[2])


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
def test_wrong_settings_are_told(prior: Prior, method: DDPMSegmentation, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        method.fit(prior, torch.zeros(1, 3, 16, 16), torch.zeros(1, 16, 16, dtype=torch.long))


def test_label_maps_of_another_size_are_told(prior: Prior) -> None:
    with pytest.raises(UserError, match="same size"):
        DDPMSegmentation().fit(prior, torch.zeros(1, 3, 16, 16), torch.zeros(1, 8, 8, dtype=torch.long))


def test_nothing_to_judge_is_told() -> None:
    truth = torch.full((1, 4, 4), 255)
    with pytest.raises(UserError, match="ignore"):
        DDPMSegmentation().evaluate(torch.zeros_like(truth), truth)


def test_kmeans_finds_separate_clouds() -> None:
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    truth = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    points = centres[truth] + torch.randn(100, 2, generator=generator())
    assert torch.equal(kmeans(points, 3, generator(1)), truth)
    assert kmeans(torch.zeros(5, 2), 3, generator()).eq(0).all()


def test_study_outputs_have_their_shapes(prior: Prior) -> None:
    image = torch.rand(3, 3, 16, 16, generator=generator()) * 2 - 1
    truth = (image[:, 1] > 0).long()
    method = DDPMSegmentation(ensemble=1, epochs=1, smallest=1)
    pairs = ((image[:2], truth[:2]), (image[2:], truth[2:]))
    grid = block_step_grid(method, prior, *pairs, (10, 500), (3, 0), Run(progress=False))
    assert grid.shape == (2, 2)
    assert ((grid >= 0) & (grid <= 1)).all()
    found = feature_clusters(prior, image, 10, 0, 4, Run())
    assert found.shape == (3, 8, 8)
    assert found.unique().tolist() == [0, 1, 2, 3]
