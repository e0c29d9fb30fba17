"""Small files that declare, nest or unpack to much: each is refused, or read, in little time and memory.

All of them are read in children of one process, since it is the peak of a child that tells what was taken.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from faults.hostile import GROUPS, Ask, nifti_header
from faults.limited import Ended, Limited
from headwater.data.pictures import read_picture
from headwater.data.resize import area, share, vote
from headwater.errors import UserError
from headwater.limits import Limits

SECONDS, MEGABYTES = 5, 300
READ = {
    "pictures": {"png_grey", "tiff_packbits", "mask_grey", "labels", "labels_16", "labels_16_large"}
    | {"labels_8_large"},
    "hdf5": {"header_large"},
    "nifti": {"bomb_behind"},
    "texts": {"regex", "line_late", "folder_pipe", "folder_zero"},
    "tables": {"excel", "clock", "scores_nul"} | {"forecast_zone_begin", "forecast_epoch", "forecast_nan"},
    "noises": {"bound_tiny"},
    "schedulers": {"most"},
    "tokenizers": {"wordpiece", "truncation", "padding"},
}
"""Files in which nothing is wrong, or nothing that matters to whoever reads them."""
COSTLY = {"jpeg_cmyk", "tiff_of_holes"}
"""Large pictures in files that are not much smaller: they cost what they hold."""
CASES = [(group, name) for group, makers in GROUPS.items() for name in makers if name not in COSTLY]


@pytest.fixture(scope="module")
def limited() -> Iterator[Limited]:
    server = Limited()
    yield server
    server.close()


def asked(server: Limited, ask: Ask) -> Ended:
    if not ask.reader:
        return server.command(*ask.words)
    where = ask.reader if ":" in ask.reader else f"faults.readers:{ask.reader}"
    return server.call(where, *ask.words, **ask.options)


@pytest.mark.parametrize(("group", "name"), CASES)
def test_little_time_and_memory_then_one_sentence(
    limited: Limited, tmp_path: Path, group: str, name: str
) -> None:
    ended = asked(limited, GROUPS[group][name](tmp_path))
    assert ended.seconds < SECONDS, ended
    assert ended.megabytes < MEGABYTES, ended
    for word in ("this is a bug", "Traceback", "panicked", "there is not enough memory", "Warning"):
        assert word not in ended.said, ended
    if name in READ.get(group, ()):
        assert ended.code == 0, ended
    else:
        assert ended.code in (1, 2), ended
        assert ended.said.strip().count("\n") <= 1, ended
        assert len(ended.said) < 1700, ended


def test_the_server_tells_what_a_child_took(limited: Limited) -> None:
    """Else the tests above would mean nothing."""
    ended = limited.call("faults.readers:spend", 400)
    assert 380 < ended.megabytes < 500
    assert limited.call("faults.readers:spend", 4000).said.startswith("this is a bug: MemoryError")
    assert limited.call("faults.readers:spend", 1).megabytes < 60


def test_limits_are_raised_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Image.new("L", (40, 40)).save(tmp_path / "p.png")
    monkeypatch.setenv("HEADWATER_LIMIT_PIXELS", "1000")
    with pytest.raises(UserError, match="raise --limit pixels or HEADWATER_LIMIT_PIXELS if you trust"):
        read_picture(tmp_path / "p.png", (1, 8, 8))
    monkeypatch.setenv("HEADWATER_LIMIT_PIXELS", "1600")
    read_picture(tmp_path / "p.png", (1, 8, 8))
    monkeypatch.setenv("HEADWATER_LIMIT_PIXELS", "many")
    with pytest.raises(UserError, match="HEADWATER_LIMIT_PIXELS is 'many': give a whole number"):
        Limits()
    assert Limits(pixels=3).pixels == 3


def test_limits_are_changed_for_one_command(
    headwater: Any, repaint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "more than 99" in headwater(*repaint(), "--limit", "pixels=99").sentence(1)
    assert Limits().pixels == 64_000_000
    monkeypatch.setenv("HEADWATER_LIMIT_PIXELS", "99")
    assert headwater(*repaint(), "--limit=pixels=400", "--limit", "items=1000").code == 0
    assert "the names are file_bytes, pixels" in headwater(*repaint(), "--limit", "pixel=9").sentence(1)
    assert "give a whole number" in headwater(*repaint(), "--limit", "pixels=many").sentence(1)
    assert "--limit wants NAME=VALUE" in headwater(*repaint(), "--limit").sentence(2)
    assert "--limit NAME=VALUE changes" in headwater("inspect", "--help").out


@pytest.mark.parametrize(("shape", "code", "size"), [((256, 256, 256), 64, 8), ((512, 512, 256), 2, 1)])
def test_a_volume_of_labels_is_read_though_it_packs_well(
    limited: Limited, tmp_path: Path, shape: tuple[int, int, int], code: int, size: int
) -> None:
    """A box of label 3 in nothing: one to some hundreds, which of another file would be too much."""
    row = np.zeros(shape[0] * shape[1], {8: np.float64, 1: np.uint8}[size])
    row[: row.size // 2] = 3
    path = tmp_path / "labels.nii.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(nifti_header(shape, code))
        for _ in range(shape[2]):
            file.write(row.tobytes())
    assert row.nbytes * shape[2] / path.stat().st_size > 100
    ended = limited.call("faults.readers:volume", path)
    assert ended.code == 0, ended
    assert ended.seconds < SECONDS, ended
    assert ended.megabytes < 600, ended


@pytest.mark.parametrize("seed", range(20))
def test_large_pictures_are_resized_part_by_part_to_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    height, width, *to = (int(n) for n in rng.integers(3, 80, 4))
    pixels = Image.fromarray(rng.integers(0, 256, (height, width, 4), dtype=np.uint8), "RGBA")
    for mode in ("RGBA", "RGB", "LA", "L", "P"):
        pixels.convert(mode).save(tmp_path / "p.png")
        for channels in (1, 3):
            shape = (channels, to[0], to[1])
            whole = read_picture(tmp_path / "p.png", shape)
            with monkeypatch.context() as patch:
                patch.setattr("headwater.data.pictures._STRIP", 3 * width)
                patch.setattr("headwater.data.pixels._STRIP", 5 * width)
                assert torch.equal(read_picture(tmp_path / "p.png", shape), whole)


def by_shares(labels: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The definition: the label of the largest share, the larger one of equals."""
    shares = torch.stack([area((labels == k).double(), height, width) for k in range(int(labels.max()) + 1)])
    most = shares.amax(0)
    return torch.stack([torch.where(s >= most - 1e-9, k, -1) for k, s in enumerate(shares)]).amax(0)


@pytest.mark.parametrize("seed", range(30))
def test_votes_do_not_depend_on_how_they_are_counted(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(n) for n in rng.integers(2, 40, 2))
    to = int(rng.integers(1, height + 1)), int(rng.integers(1, width + 1))
    labels = torch.from_numpy(rng.integers(0, int(rng.integers(2, 9)), (height, width)))
    wanted = by_shares(labels, *to)
    assert torch.equal(vote(labels, *to), wanted)
    assert torch.equal(vote(labels - 1, *to), wanted - 1)
    monkeypatch.setattr("headwater.data.resize._STRIP", 1)
    monkeypatch.setattr("headwater.data.resize._BINS", 0)
    monkeypatch.setattr("headwater.data.resize._SPAN", 0)
    assert torch.equal(vote(labels, *to), wanted)
    white = labels > 0
    before = share(white, *to)
    monkeypatch.setattr("headwater.data.resize._AT_ONCE", 0)
    assert torch.allclose(share(white, *to), before, rtol=0, atol=1e-12)


def test_names_that_would_steer_a_terminal_are_written_out(limited: Limited, tmp_path: Path) -> None:
    for name in ("a\x1b[31mb.pt", "a\x9b31m.pt", "a\u202eb.pt"):
        (tmp_path / name).write_bytes(b"\x80\x02.")
        said = limited.command("inspect", tmp_path / name).said
        assert not set(said) & set("\x1b\x9b\u202e"), said
        assert name[0] + name[1].encode("unicode_escape").decode() in said
