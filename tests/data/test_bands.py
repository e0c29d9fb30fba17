"""Pictures of many bands: chosen ones become channels, and whoever chooses none is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from headwater.data import UnreadableError, open_dataset, read_picture
from headwater.data.bands import band_sizes
from headwater.data.pictures import picture_shape

SCENE = np.random.default_rng(0).integers(0, 256, (6, 9, 7), dtype=np.uint8)


def write(path: Path, values: np.ndarray[Any, Any] = SCENE, **how: Any) -> Path:
    pixels = how.pop("planarconfig", "contig")
    stored = values if pixels == "separate" else values.transpose(1, 2, 0)
    tifffile.imwrite(path, stored, photometric="minisblack", planarconfig=pixels, **how)
    return path


@pytest.mark.parametrize(
    "how", [{}, {"planarconfig": "separate"}, {"bigtiff": True}, {"byteorder": ">"}, {"compression": "zlib"}]
)
def test_chosen_bands_are_read_as_stored(tmp_path: Path, how: dict[str, Any]) -> None:
    path = write(tmp_path / "scene.tif", **how)
    assert band_sizes(path) == (6, 9, 7)
    assert picture_shape(path) == (3, 9, 7)
    found = read_picture(path, (3, 9, 7), bands=(3, 2, 1))
    torch.testing.assert_close(found, torch.from_numpy(SCENE[[2, 1, 0]]).float() / 127.5 - 1)
    grey = read_picture(path, (1, 9, 7), bands=(4,))
    torch.testing.assert_close(grey[0], torch.from_numpy(SCENE[3]).float() / 127.5 - 1)


def test_units_of_their_own_are_cut_to_a_window(tmp_path: Path) -> None:
    path = write(tmp_path / "scene.tif", SCENE.astype(np.uint16) * 8)
    with pytest.raises(UnreadableError, match="--window"):
        read_picture(path, (3, 9, 7), bands=(3, 2, 1))
    found = read_picture(path, (3, 9, 7), window=(0, 1000), bands=(3, 2, 1))
    wanted = torch.from_numpy(SCENE[[2, 1, 0]]).float().mul(8).clamp(0, 1000) / 500 - 1
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("bands", "said"),
    [
        ((), r"has 6 bands: say which 3 to read, counted from 1, .* --bands 3 2 1"),
        ((3, 2), "bands are 3 2: give 3 from 1 to 6"),
        ((7, 2, 1), "bands are 7 2 1: give 3 from 1 to 6"),
        ((0, 1, 2), "give 3 from 1 to 6"),
    ],
)
def test_a_choice_that_is_missing_or_wrong_is_a_sentence(
    tmp_path: Path, bands: tuple[int, ...], said: str
) -> None:
    path = write(tmp_path / "scene.tif")
    with pytest.raises(UnreadableError, match=said):
        read_picture(path, (3, 9, 7), bands=bands)


def test_damaged_and_other_files_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "scene.tif")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UnreadableError, match=r"cannot be decoded|bands of shape"):
        read_picture(path, (3, 9, 7), bands=(3, 2, 1))
    path.write_bytes(b"II*\0" + bytes(9))
    assert band_sizes(path) is None
    Image.fromarray(SCENE[:3].transpose(1, 2, 0).copy()).save(tmp_path / "rgb.tif")
    assert band_sizes(tmp_path / "rgb.tif") is None
    read_picture(tmp_path / "rgb.tif", (3, 9, 7), bands=(3, 2, 1))
    assert "no bands to choose from" in caplog.text


def test_folders_of_scenes_are_data_sets(tmp_path: Path) -> None:
    write(tmp_path / "a.tif")
    found = open_dataset(tmp_path, (3, 9, 7), bands=(3, 2, 1))
    torch.testing.assert_close(found[0], read_picture(tmp_path / "a.tif", (3, 9, 7), bands=(3, 2, 1)))
