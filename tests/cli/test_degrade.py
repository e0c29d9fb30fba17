"""`headwater degrade`, and restoring what it made."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from contract.specimens import network_prior
from headwater.data import read_picture
from headwater.operators import JPEG
from headwater.operators.named import operator_of


@pytest.fixture
def clean(tmp_path):
    folder = tmp_path / "clean"
    folder.mkdir()
    for i in range(3):
        noise = torch.rand(16, 16, 3, generator=torch.Generator().manual_seed(i)) * 255
        Image.fromarray(noise.to(torch.uint8).numpy()).save(folder / f"p{i}.png")
    return folder


def test_it_writes_what_is_measured(headwater, clean, tmp_path):
    low = tmp_path / "low"
    said = headwater("degrade", clean, "--by", "block-average 4", "--out", low, "--json")
    assert said.code == 0
    assert json.loads(said.out) == {"out": str(low), "pictures": 3, "shape": [3, 4, 4]}
    small = read_picture(low / "measured" / "p1.png", (3, 4, 4))
    truth = read_picture(clean / "p1.png", (3, 16, 16))
    torch.testing.assert_close(small, torch.nn.functional.avg_pool2d(truth, 4), atol=0.005, rtol=0)


def test_noise_is_drawn_for_each_picture_by_the_seed(headwater, clean, tmp_path):
    def measured(out, *more):
        assert (
            headwater("degrade", clean, "--by", "grey", "--noise", 0.2, "--out", tmp_path / out, *more).code
            == 0
        )
        return [read_picture(tmp_path / out / "measured" / f"p{i}.png", (1, 16, 16)) for i in range(3)]

    one, again, other = measured("a"), measured("b", "--batch", 1), measured("c", "--seed", 1)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[0], other[0])


def test_jpeg_is_the_real_one(headwater, clean, tmp_path):
    assert headwater("degrade", clean, "--by", "jpeg 10", "--out", tmp_path / "j").code == 0
    found = read_picture(tmp_path / "j" / "measured" / "p0.png", (3, 16, 16))
    truth = read_picture(clean / "p0.png", (3, 16, 16))
    torch.testing.assert_close(found, JPEG(10).real(truth[None])[0], atol=0.005, rtol=0)


def test_a_kernel_is_read_from_a_picture(headwater, clean, tmp_path):
    weights = torch.zeros(3, 5, dtype=torch.uint8)
    weights[1, 3] = 200  # all weight lies a pixel to the right: what is seen there comes from the left
    Image.fromarray(weights.numpy()).save(tmp_path / "kernel.png")
    for name, by in (("moved", f"blur {tmp_path / 'kernel.png'}"), ("same", "nothing")):
        assert headwater("degrade", clean, "--by", by, "--out", tmp_path / name).code == 0
    moved, same = (read_picture(tmp_path / n / "measured" / "p0.png", (3, 16, 16)) for n in ("moved", "same"))
    torch.testing.assert_close(moved, same.roll(1, -1), atol=0.005, rtol=0)
    Image.fromarray(weights[:, :4].numpy()).save(tmp_path / "even.png")
    said = headwater("degrade", clean, "--by", f"blur {tmp_path / 'even.png'}", "--out", tmp_path / "x")
    assert "give it odd sides" in said.err


def test_a_mask_is_read_for_each_picture(headwater, clean, tmp_path):
    (tmp_path / "holes").mkdir()
    for i in range(3):
        known = torch.full((16, 16), 255, dtype=torch.uint8)
        known[:, : 4 * i] = 0
        Image.fromarray(known.numpy()).save(tmp_path / "holes" / f"p{i}.png")
    given = ("--by", "mask", "--known", tmp_path / "holes", "--noise", 0.1, "--batch", 2)
    assert headwater("degrade", clean, *given, "--out", tmp_path / "m").code == 0
    for i in range(3):
        found = read_picture(tmp_path / "m" / "measured" / f"p{i}.png", (3, 16, 16))
        truth = read_picture(clean / f"p{i}.png", (3, 16, 16))
        assert found[..., : 4 * i].abs().max() < 0.005 if i else True
        assert 0.05 < (found - truth)[..., 4 * i :].std() < 0.12
    said = headwater("degrade", clean, "--by", "grey", "--known", tmp_path / "holes", "--out", tmp_path / "x")
    assert "known is for the measurement `mask`" in said.err


def test_photons_are_counted_for_each_picture_by_the_seed(headwater, clean, tmp_path):
    def measured(out, *more):
        given = ("--by", "block-average 2", "--photons", 50, "--out", tmp_path / out, *more)
        assert headwater("degrade", clean, *given).code == 0
        return [read_picture(tmp_path / out / "measured" / f"p{i}.png", (3, 8, 8)) for i in range(3)]

    one, again = measured("a"), measured("b", "--batch", 1)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[0], measured("c", "--seed", 1)[0])
    truth = torch.nn.functional.avg_pool2d(read_picture(clean / "p0.png", (3, 16, 16)), 2)
    assert 0.15 < float((one[0] - truth).std()) < 0.25  # 2 sqrt(50 / 2) / 50
    said = headwater("degrade", clean, "--by", "phase-retrieval", "--photons", 50, "--out", tmp_path / "x")
    assert "measures no light" in said.err
    assert (
        "give a number above 0"
        in headwater("degrade", clean, "--by", "grey", "--photons", 0, "--out", tmp_path / "x").err
    )


@pytest.mark.parametrize("by", ["phase-retrieval", "compressed-sensing 0.5"])
def test_what_is_no_picture_is_written_as_numbers_and_restored(headwater, clean, tmp_path, by):
    network_prior((3, 16, 16)).save_pretrained(tmp_path / "prior")
    low, out = tmp_path / "low", tmp_path / "out"
    assert headwater("degrade", clean, "--by", by, "--out", low).code == 0
    y = torch.from_numpy(np.load(low / "measured" / "p1.npy"))
    truth = read_picture(clean / "p1.png", (3, 16, 16))
    torch.testing.assert_close(y, operator_of(by, (3, 16, 16)).forward(truth[None])[0])
    given = ("--prior", tmp_path / "prior", "--measured", low / "measured", "--by", by, "--steps", 3)
    said = headwater("apply", "dps", *given, "--out", out)
    assert said.code == 0, said.err
    found = headwater("evaluate", "dps", "--result", out, "--truth", clean, "--json")
    assert ("psnr_aligned" in json.loads(found.out)) == (by == "phase-retrieval"), found.err


@pytest.mark.parametrize(
    ("by", "said"),
    [
        ("gray", "there is no measurement 'gray'"),
        ("block-average 5", "cannot be made 5 times smaller"),
        ("block-average four", "write it as 'block-average N'"),
        ("blur nowhere.png", "nowhere.png"),
        ("mask", "give known"),
        ("phase-retrieval 9", "give a share from 0 to 4"),
        ("compressed-sensing 2", "give one above 0, at most 1"),
        ("jpeg 0", "give a number from 1 to 100"),
    ],
)
def test_what_cannot_be_measured_is_a_sentence(headwater, clean, tmp_path, by, said):
    found = headwater("degrade", clean, "--by", by, "--out", tmp_path / "out")
    assert found.code == 1
    assert said in found.err
    assert "bug" not in found.err
