"""What methods take where they declare a tensor: arrays and pictures, read as nobody can misunderstand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import pytest
import torch
from PIL import Image

import headwater as hw
from headwater.errors import UserError
from headwater.methods.base import Images, Labels, Map, Mask, Method, Scores, Texts, check_mask
from headwater.sampling import RunOptions

PIXELS = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5


@dataclass(frozen=True)
class Given(Method):
    """Answers what it was given."""

    def apply(
        self,
        image: Images | None = None,
        mask: Mask | None = None,
        labels: Labels | None = None,
        map: Map | None = None,
        score: Scores | None = None,
        text: Texts | None = None,
        **how: Unpack[RunOptions],
    ) -> Any:
        """Any one of them."""
        (found,) = (v for v in (image, mask, labels, map, score, text) if v is not None)
        return found


def test_pictures_of_every_kind_are_the_same_tensor() -> None:
    wanted = (torch.from_numpy(PIXELS).float() / 255 * 2 - 1).permute(2, 0, 1)[None]
    picture = Image.fromarray(PIXELS)
    floats = wanted.numpy()
    for value in (wanted, picture, [picture], PIXELS, PIXELS[None], floats, [PIXELS], floats.astype(float)):
        found = Given().apply(value, progress=False)
        assert found.dtype == torch.float32
        assert torch.equal(found, wanted)
    assert Given().apply([picture, PIXELS]).shape == (2, 3, 4, 4)
    assert Given().apply(PIXELS[..., 0]).shape == (1, 1, 4, 4)
    assert Given().apply(Image.fromarray(PIXELS[..., 0])).shape == (1, 1, 4, 4)
    assert Given().apply(picture.convert("RGBA")).shape == (1, 3, 4, 4)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.zeros((3, 9, 9)), "image has shape \\(3, 9, 9\\), which may be 3 gray pictures or one"),
        (np.zeros((2, 3, 4, 3)), "which may be channels at the end or channels after the first axis"),
        (np.zeros((2, 4, 4, 4)), "its sides do not tell"),
        (np.zeros((4, 4), np.int64), "give uint8 pixels or floats"),
        (PIXELS.astype(float), "goes from 0 to 235, but pictures lie in"),
        ([PIXELS, PIXELS[:2]], "different shapes"),
        ([], "image is empty"),
    ],
)
def test_pictures_that_may_mean_two_things_are_refused(value: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Given().apply(value)


def test_masks_labels_and_the_rest() -> None:
    hole = np.zeros((4, 6), bool)
    hole[1:3] = True
    wanted = torch.from_numpy(hole)[None, None]
    for value in (hole, hole[None], wanted, hole.astype(np.uint8), hole.astype(np.uint8) * 255):
        assert torch.equal(Given().apply(mask=value), wanted)
    assert torch.equal(Given().apply(mask=Image.fromarray(hole)), wanted)
    assert torch.equal(Given().apply(mask=hole.astype(float)), wanted)
    with pytest.raises(UserError, match="mask holds 24 values from 0 to 23, not black and white alone"):
        Given().apply(mask=np.arange(24, dtype=np.uint8).reshape(4, 6))
    assert Given().apply(labels=np.full((4, 6), 9, np.uint8)).dtype == torch.int64
    assert Given().apply(map=np.zeros((2, 4, 6))).shape == (2, 1, 4, 6)
    assert Given().apply(score=[1, 2]).dtype == torch.float32
    assert Given().apply(text="one") == ["one"]


def test_a_users_first_lines() -> None:
    prior = hw.Prior.from_pretrained("digits")
    image = np.full((32, 32), 128, np.uint8)
    known = np.ones((32, 32), bool)
    known[8:20] = False
    filled = hw.RePaint(steps=2, jump=1, resample=1).apply(prior, image, known, seed=0, progress=False)
    assert filled.shape == (1, 1, 32, 32)
    torch.testing.assert_close(filled[..., :8, :], torch.full((1, 1, 8, 32), 128 / 127.5 - 1))


@pytest.mark.parametrize("known", [torch.ones(1, 1, 12, 16), torch.ones(3, 1, 12, 16, dtype=torch.bool)])
def test_a_mask_that_does_not_fit_is_a_sentence(known: torch.Tensor) -> None:
    with pytest.raises(UserError, match=r"give bool \(2 or 1, 1, 12, 16\)"):
        check_mask(known, torch.zeros(2, 3, 12, 16))
