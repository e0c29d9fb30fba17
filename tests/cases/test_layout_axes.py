"""Arrays and volumes as people have them: which axes are what, and which numbers are black and white."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from headwater.data import UnreadableError, open_dataset
from headwater.data.arrays import axial_slices, picture_stack
from headwater.data.layout import batch_of
from headwater.errors import UserError
from headwater.training import Recipe
from headwater.training.pictures import gather


def picture(height: int = 24, width: int = 20, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, channels), dtype=np.uint8)


def shown(array: np.ndarray) -> torch.Tensor:
    """(N, H, W, C) of 8 bits as pictures."""
    return torch.from_numpy(np.ascontiguousarray(array)).permute(0, 3, 1, 2).float() * (2 / 255) - 1


def test_the_lengths_of_axes_say_what_they_are() -> None:
    one = picture()
    for array in (one, one[None], one.transpose(2, 0, 1)[None], np.asfortranarray(one), one.astype(">u1")):
        assert torch.equal(picture_stack(array, "x"), shown(one[None]))
    gray = one[..., :1]
    for array in (gray, gray[..., 0], gray[None], gray[None, ..., 0], gray.transpose(2, 0, 1)[None]):
        assert torch.equal(picture_stack(array, "x"), shown(gray[None]))
    many = picture(24, 20, 7).transpose(2, 0, 1)
    for array in (many, many[..., None], many[:, None]):
        assert torch.equal(picture_stack(array, "x"), shown(many[..., None]))


def test_opacity_is_laid_on_white() -> None:
    one = picture(channels=4)
    laid = np.asarray(Image.alpha_composite(Image.new("RGBA", (20, 24), "white"), Image.fromarray(one)))[
        ..., :3
    ]
    for array in (one, one[None], one.transpose(2, 0, 1)[None], one[None] / 255, one.astype(np.uint16) * 257):
        torch.testing.assert_close(picture_stack(array, "x"), shown(laid[None]), atol=0.01, rtol=0)
    with pytest.raises(UnreadableError, match="no opacity from 0 to 1: lay the pictures on white first"):
        picture_stack(one[None] / 127.5 - 1, "x")


@pytest.mark.parametrize(
    "shape",
    [(3, 24, 20), (3, 3, 24), (3, 32, 3), (2, 3, 24, 3), (3, 3, 40, 3), (3, 40, 4), (24, 24, 9), (48, 40, 5)],
)
def test_what_may_mean_two_things_is_asked_and_every_advice_works(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).random(shape)
    with pytest.raises(UnreadableError, match=r"x has shape \(") as caught:
        batch_of(array, "x")
    said = str(caught.value).partition("save ")[2]
    ways = [f"array{part.partition(' for ')[0]}" for part in said.split("array")[1:]]
    assert len(ways) == {(3, 32, 3): 3, (48, 40, 5): 1}.get(shape, 2)
    found = [batch_of(eval(way, {"array": array, "None": None}), "x") for way in ways]
    assert len({f.shape for f in found}) == len(ways)


def test_shapes_that_are_no_pictures_are_refused(caplog: Any) -> None:
    for shape in [(4,), (0, 9, 9), (2, 9, 9, 5), (2, 2, 9, 9, 3)]:
        with pytest.raises(UnreadableError, match=r"use \(N, H, W\) or \(N, H, W, "):
            batch_of(np.zeros(shape), "x")
    with pytest.raises(UnreadableError, match="its sides do not tell: save pictures that are 8 pixels wide"):
        batch_of(np.zeros((2, 3, 3, 3)), "x")
    assert batch_of(np.zeros((1000, 784)), "x").shape == (1, 1, 1000, 784)
    assert "is read as one picture, not as a picture a row" in caplog.text
    caplog.clear()
    assert batch_of(np.zeros((4, 24, 20)), "x").shape == (4, 1, 24, 20)
    assert "is read as 4 gray pictures" in caplog.text


def test_who_wants_gray_pictures_gets_three_and_is_told(tmp_path: Path, caplog: Any) -> None:
    np.save(tmp_path / "a.npy", picture().transpose(2, 0, 1))
    assert len(open_dataset(tmp_path / "a.npy", (1, 8, 8))) == 3
    assert "is read as 3 gray pictures, as gray ones are wanted; save array[None]" in caplog.text
    for shape in (None, (3, 8, 8)):
        with pytest.raises(
            UnreadableError, match="may be 3 gray pictures or one picture with its channels first"
        ):
            open_dataset(tmp_path / "a.npy", shape)


# Range


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4", ">f8"])
def test_rounding_beyond_a_range_is_cut(dtype: Any) -> None:
    unit = picture()[None] / 255
    unit[0, :2, 0, 0] = 0, 1
    both = unit * 2 - 1
    for low, high in ((-2.98e-8, 1), (0, 1.0000001), (-1e-5, 1.00005)):
        odd = unit.astype(dtype)
        odd[0, :2, 0, 0] = low, high
        torch.testing.assert_close(
            picture_stack(odd, "x"), picture_stack(unit.astype(dtype), "x"), atol=1e-6, rtol=0
        )
        assert float(picture_stack(odd, "x").abs().max()) <= 1
    odd = both.astype(dtype)
    odd[0, :2, 0, 0] = -1.00001, 1.00001
    torch.testing.assert_close(
        picture_stack(odd, "x"), torch.from_numpy(both).permute(0, 3, 1, 2).float(), atol=2e-3, rtol=0
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            [0.0, 1.001],
            r"goes from 0 to 1\.001, so what is black and white is not known: give --window LOW HIGH",
        ),
        ([-1.0002, 1.0], r"goes from -1\.0002 to 1,"),
        ([-0.02, 1.0], "so its black may be 0 or -1: give --window 0 1 .* or --window -1 1"),
        ([0.0, 255.0], "in whole numbers .float64.: give --window 0 255"),
        ([0.0, 254.5], r"goes from 0 to 254\.5, so"),
        ([-1000.0, 3000.0], "goes from -1000 to 3000, so what is black and white is not known"),
        ([0.0, np.inf], "1 values that are NaN or infinite"),
    ],
)
def test_other_floats_are_asked_about_with_enough_digits(values: list[float], said: str) -> None:
    array = np.resize(np.array(values), (2, 9, 9))
    with pytest.raises(UnreadableError, match=said):
        picture_stack(array, "x")


@pytest.mark.parametrize(
    "dtype", [np.int8, np.int16, np.int32, np.int64, np.uint16, np.uint32, np.uint64, ">i4"]
)
def test_whole_numbers_that_may_be_of_8_bits_are_asked_about(dtype: Any) -> None:
    top = 127 if dtype is np.int8 else 255
    array = np.resize(np.arange(top + 1), (4, 9, 9)).astype(dtype)
    with pytest.raises(UnreadableError, match=r"give --window 0 255|whole numbers .* give --window 0 255"):
        picture_stack(array, "x")
    wanted = torch.from_numpy(array.astype(np.float32))[:, None] / 127.5 - 1
    torch.testing.assert_close(picture_stack(array, "x", (0, 255)), wanted)
    with pytest.raises(UnreadableError, match="give --window 0 1 "):
        picture_stack((array > 60).astype(dtype), "x")
    assert picture_stack((array > 60).astype(dtype), "x", (0, 1)).unique().tolist() == [-1, 1]
    assert picture_stack(array > 60, "x").unique().tolist() == [-1, 1]


def test_a_window_is_linear_cut_and_checked(tmp_path: Path, caplog: Any) -> None:
    values = np.resize(np.array([-1000, -200, 100, 3000], np.int16), (2, 9, 9))
    found = picture_stack(values, "x", (-1000, 400)).unique()
    torch.testing.assert_close(found, torch.tensor([-1, 800 / 700 - 1, 1100 / 700 - 1, 1]))
    for window, said in (
        ((400, -1000), "from 400 to -1000: give two values, the lower one"),
        ((0, np.nan), "nan"),
    ):
        with pytest.raises(UserError, match=said):
            picture_stack(values, "x", window)
        with pytest.raises(UserError, match=said):
            open_dataset("tiny", window=window)
    with pytest.raises(
        UnreadableError, match="holds values from 0 to 65535, and the window goes from -1000 to 400"
    ):
        picture_stack(np.full((2, 9, 9), 60000, np.uint16), "x", (-1000, 400))
    picture_stack(np.resize([0.0, 1.0], (2, 9, 9)), "x", (0, 255))
    assert "next to no values inside the window" in caplog.text


def test_units_of_volumes_are_asked_about_noted_or_said(tmp_path: Path, caplog: Any) -> None:
    tissue = torch.tensor([-1000.0, -800.0, 40.0, 700.0]).repeat(4, 4, 1)
    with pytest.raises(UnreadableError, match=r"chest\.nii goes from -1000 to 700, .*give --window LOW HIGH"):
        axial_slices(tissue, where="chest.nii")
    found = axial_slices(tissue, (-1000, 700)).unique()
    torch.testing.assert_close(found, (tissue[0, 0] + 1000) / 850 - 1)
    with pytest.raises(UnreadableError, match="give --window"):
        axial_slices(-tissue.abs())
    assert not caplog.records
    head = torch.rand(6, 5, 4, generator=torch.Generator().manual_seed(0)) * 800
    plain = axial_slices(head)
    assert "0 is black and its 99.5th percentile white; --window LOW HIGH says it" in caplog.text
    head[0, 0, 0] = -3.0
    torch.testing.assert_close(axial_slices(head)[1:], plain[1:], atol=1e-3, rtol=0)
    assert "a few values just below 0, which become black" in caplog.text
    nibabel.save(nibabel.Nifti1Image(tissue.numpy(), np.eye(4)), tmp_path / "a.nii")
    assert torch.equal(open_dataset(tmp_path / "a.nii", window=(-1000, 700)).images.unique(), found)  # type: ignore
    recipe = Recipe(str(tmp_path / "a.nii"), shape=(1, 4, 4), window=(-1000, 700))
    assert torch.equal(gather(recipe).images.unique(), found)  # type: ignore
    assert Recipe.from_dict(recipe.to_dict()) == recipe
