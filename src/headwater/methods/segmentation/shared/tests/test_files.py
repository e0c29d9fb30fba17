"""Files that masks are learned from and written to: several MR channels, volumes of labels, each mask."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from headwater.cli import main
from headwater.data import open_dataset
from headwater.data.label_maps import LabelVolume
from headwater.errors import UserError

TINY = {
    "samples": 3,
    "steps": 2,
    "network": {"model_channels": 32, "channel_mult": [1], "num_res_blocks": 1, "attention_resolutions": []},
    "training": {"steps": 1, "batch_size": 2},
}


def run(*words: object) -> int:
    return main([*map(str, words), "--device", "cpu", "--json"])


def test_four_channels_a_volume_of_labels_and_each_mask(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    draws = np.random.default_rng(0)
    scans = draws.random((4, 4, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "scans.npz", images=scans)
    truth = (draws.random((8, 8, 4)) > 0.6).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(truth, np.eye(4)), tmp_path / "truth.nii.gz")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({**TINY, "shape": [4, 8, 8]}))
    fit = ("fit", "implicit-ensembles", "--recipe", tmp_path / "tiny.yaml")
    given = ("--image", tmp_path / "scans.npz", "--labels", tmp_path / "truth.nii.gz")
    assert run(*fit, *given, "--out", tmp_path / "fit") == 0
    apply = ("apply", "implicit-ensembles", "--fitted", tmp_path / "fit", "--image", tmp_path / "scans.npz")
    assert run(*apply, "--views", True, "--out", tmp_path / "out") == 0
    for folder in ("labels", "masks", "masks-2", "masks-3"):
        names = sorted(path.name for path in (tmp_path / "out" / folder).iterdir())
        assert names == [f"scans-{i:05d}.png" for i in range(4)], folder
    votes = [np.asarray(Image.open(tmp_path / "out" / f / "scans-00000.png")) for f in ("masks", "masks-2")]
    assert set(np.unique(votes)) <= {0, 1}
    assert "masks-3/scans-00003.png" in yaml.safe_load((tmp_path / "out/run.yaml").read_text())["outputs"]
    found = ("evaluate", "implicit-ensembles", "--result", tmp_path / "out")
    assert main([*map(str, found), "--truth", str(tmp_path / "truth.nii.gz"), "--json"]) == 0
    capsys.readouterr()
    # A picture file has no four channels, and an array of one has none either.
    (tmp_path / "flat").mkdir()
    for i in range(4):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f"flat/truth-{i:05d}.png")
    np.savez(tmp_path / "grey.npz", images=scans[:, :1])
    for other, sentence in (("flat", "1 or 3 channels, not 4"), ("grey.npz", "4 channels are wanted")):
        words = *fit, "--image", tmp_path / other, *given[2:], "--out", tmp_path / "no"
        assert run(*words) != 0
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("step", [1.0, 2.0])
def test_labels_of_a_volume_lie_as_its_pictures_do(tmp_path: Path, step: float) -> None:
    """Read as pictures and as labels, a volume whose axes run backwards shows the same numbers."""
    values = np.zeros((12, 10, 3), np.float32)
    values[1:5, 2:9, 0], values[6:10, 4:6, 1], values[3:9, 5:, 2] = 1, 2, 3
    affine = np.diag([-1.0, step, 2, 1])
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "a.nii.gz")
    found, pictures = (
        LabelVolume.read(tmp_path / "a.nii.gz"),
        open_dataset(tmp_path / "a.nii.gz", window=(0, 3)),
    )
    assert pictures.shape == (1, int(10 * step), 12)
    assert tuple(found.held.values) == (0, 1, 2, 3)
    for row in range(3):
        labels = found.labels(row, None, range(4))
        inner = (pictures[row][0] + 1) * 1.5
        # Where rows were made up between two, pictures blend and labels do not.
        assert float(((inner - labels).abs() < 0.05).double().mean()) > (0.99 if step == 1 else 0.75)
        assert torch.equal(labels.unique(), torch.tensor([0, row + 1]))


def test_other_numbers_are_no_labels(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.full((4, 4, 2), 0.5, np.float32), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(UserError, match="whole numbers"):
        LabelVolume.read(tmp_path / "a.nii")
