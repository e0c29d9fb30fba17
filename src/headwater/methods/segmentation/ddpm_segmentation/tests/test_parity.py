"""Features, pixel classifiers, vote and uncertainty against the reference's arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from arrays import close
from headwater.bench.naive_features import naive_logits
from headwater.methods.segmentation.ddpm_segmentation.method import (
    DDPMSegmentation,
    PixelClassifiers,
    predict,
    read_features,
)
from headwater.models import Prior, PriorConfig
from headwater.nets.pixel_ensemble import PixelEnsemble, PixelFeatures
from headwater.sampling import Run

TOLERANCE = 2e-5  # stated with the arrays


def stacked(members: list[dict[str, Tensor]]) -> PixelEnsemble:
    """An ensemble from the reference's state dicts, one a member (`layers.0.weight` ... `layers.6.bias`)."""

    def rows(name: str) -> Tensor:
        return torch.stack([m[f"layers.{name}"] for m in members])

    dim, classes = members[0]["layers.0.weight"].shape[1], len(members[0]["layers.6.bias"])
    ensemble = PixelEnsemble(len(members), dim, classes)
    state = {f"weights.{i}": rows(f"{layer}.weight").mT for i, layer in enumerate((0, 3, 6))}
    state |= {f"biases.{i}": rows(f"{layer}.bias") for i, layer in enumerate((0, 3, 6))}
    for i, layer in enumerate((2, 5)):
        for name in ("weight", "bias", "running_mean", "running_var"):
            state[f"norms.{i}.{name}"] = rows(f"{layer}.{name}").flatten()
        state[f"norms.{i}.num_batches_tracked"] = torch.tensor(0)
    ensemble.load_state_dict(state)
    return ensemble.eval()


class Case:
    def __init__(self, data: Any) -> None:
        self.data, config = data, data.config
        net = {k: v for k, v in config["net"].items() if k != "image_size"}
        prior = PriorConfig({"kind": "adm", **net}, (3, *config["size"]), variance="learned_range")
        network = prior.build_network().eval()
        network.load_state_dict(data.under("w/unet"), strict=True)
        self.prior = Prior(network, prior)
        self.steps, self.blocks = config["steps"], config["blocks"]
        self.size = (config["dim"][0], config["dim"][1])
        self.ensemble = stacked([data.under(f"w/mlp{k}") for k in range(config["ensemble"])])

    def maps(self, image: int) -> list[Tensor]:
        x0, noise = self.data["in/x0"][image : image + 1], self.data["in/noise"]
        return read_features(self.prior, x0, self.steps, self.blocks, noise, Run())


@pytest.fixture(params=["features_mlp", "features_mlp_upsampled_image"])
def case(request: pytest.FixtureRequest, golden: Callable[[str], Any]) -> Case:
    return Case(golden(f"ddpm-seg/{request.param}"))


def test_activations_agree_in_order(case: Case) -> None:
    stored = list(case.data.under("out/activation").values())
    maps = case.maps(0)
    assert len(maps) == len(stored) == len(case.steps) * len(case.blocks)
    for found, expected in zip(maps, stored, strict=True):
        close(found, expected, TOLERANCE)


def test_looked_up_features_agree(case: Case) -> None:
    height, width = case.size
    pixel = torch.arange(height * width).view(height, width)
    found = PixelFeatures(case.maps(0), case.size)(pixel).permute(2, 0, 1)
    close(found, case.data["out/features"], TOLERANCE)
    both = [torch.cat(pair) for pair in zip(case.maps(0), case.maps(1), strict=True)]
    second = PixelFeatures(both, case.size)(height * width + pixel.flatten())
    close(second.mean(0), case.data["out/features_image1_mean"], TOLERANCE)


def test_logits_agree_without_the_stack_and_pixel_by_pixel(case: Case) -> None:
    members, pixels = case.ensemble.members, case.size[0] * case.size[1]
    for image in (0, 1):
        maps = case.maps(image)
        ours = torch.stack([case.ensemble.logits(k, maps, case.size) for k in range(members)])
        close(ours, naive_logits(case.ensemble, maps, case.size), TOLERANCE)
        if not image:
            close(ours.flatten(3)[:, 0].mT, case.data["out/logits"], TOLERANCE)
    with torch.no_grad():
        rows = torch.arange(pixels).expand(members, -1)
        found = case.ensemble(PixelFeatures(case.maps(0), case.size)(rows))
    close(found, case.data["out/logits"], TOLERANCE)


def test_vote_and_uncertainty_agree(case: Case) -> None:
    for image in (0, 1):
        found = predict(case.ensemble, case.maps(image), case.size)
        close(found.score[0], case.data[f"out/js_top10/{image}"], 1e-5)
        close(found.labels[0], case.data[f"out/labels/{image}"])
        if not image:
            close(found.uncertainty[0, 0], case.data["out/js_map/0"], 1e-5)


def test_mean_iou_agrees(case: Case) -> None:
    method, truth = DDPMSegmentation(ignore=case.data.config["ignore_label"]), case.data["in/gt"]
    labels = torch.stack([case.data[f"out/labels/{i}"] for i in (0, 1)])
    for gold, name in ((truth, "miou"), (torch.cat([labels[:1], truth[1:]]), "miou_labels_as_gt")):
        found = method.evaluate(labels, gold)["miou_reference"]
        assert found == pytest.approx(float(case.data[f"out/{name}"]), abs=1e-12)


def test_apply_is_the_whole_chain(case: Case) -> None:
    if case.size != tuple(case.data.config["size"]):
        pytest.skip("apply gives labels of the image's own size")
    read = (tuple(case.steps), tuple(sorted(case.blocks)))
    fitted = PixelClassifiers.of(case.ensemble, case.data["in/noise"], *read)
    found = DDPMSegmentation().apply(case.prior, case.data["in/x0"], fitted, batch_size=1)
    close(found.labels[1], case.data["out/labels/1"])
    close(found.score, torch.stack([case.data[f"out/js_top10/{i}"] for i in (0, 1)]), 1e-5)
