"""The supervised network that claims about segmentation are held against."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from closed_form import halves
from headwater.data.augment import with_labels
from headwater.errors import UserError
from headwater.methods.segmentation.shared.supervised import SupervisedUNet, course
from headwater.sampling import Run

QUIET = Run(progress=False)
NETWORK = {"kind": "adm", "model_channels": 32, "channel_mult": [1, 2], "num_res_blocks": 1}
NETWORK["attention_resolutions"] = []


def test_it_learns_and_is_a_function_of_the_seed(tmp_path: Path) -> None:
    image, truth = halves(6)
    learner = SupervisedUNet(replace(course(40), batch_size=4))
    fitted = learner.fit(NETWORK, image[:4], truth[:4], **QUIET)
    new, labels = halves(4, seed=1)
    assert (fitted.predict(new, **QUIET) == labels).double().mean() > 0.95
    short = SupervisedUNet(replace(course(2), batch_size=2))
    kept = Run(3, progress=False, checkpoint_dir=tmp_path)
    once, again, other = (
        short.fit(NETWORK, image, truth, **run).network.state_dict()["out.2.bias"]
        for run in (replace(kept, checkpoint_dir=None), kept, replace(kept, seed=4, checkpoint_dir=None))
    )
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    with pytest.raises(UserError, match="hue is False"):
        replace(short, hue=False).fit(NETWORK, image, truth, **kept)


def test_ignored_pixels_do_not_count() -> None:
    image, truth = halves(6)
    hidden = torch.where(torch.arange(16)[:, None] < 2, 255, truth)
    fitted = SupervisedUNet(course(1)).fit(NETWORK, image, hidden, **QUIET)
    assert fitted.network(image, torch.zeros(6)).shape == (6, 2, 16, 16)  # an ignored label is no class
    with pytest.raises(UserError, match="ignore"):
        SupervisedUNet(course(2)).fit(NETWORK, image, torch.full_like(truth, 255), **QUIET)


def test_images_and_labels_change_as_one() -> None:
    truth = halves(6)[1]
    solid = (truth[:, None].expand(-1, 3, -1, -1).float() - 0.5) * 2
    x, y = with_labels(solid, truth, torch.Generator().manual_seed(0), shift=3, mirror=True, hue=False)
    assert torch.equal(x[:, 0] > 0, y == 1)
    assert not torch.equal(y, truth)
