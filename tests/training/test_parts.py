"""Dropout per sample, the weight average, stopping, sheets."""

from __future__ import annotations

import signal

import pytest
import torch
from torch import nn

from headwater.training.dropout import SampleDropout, install
from headwater.training.ema import EMA
from headwater.training.journal import Journal, read
from headwater.training.page import grid
from headwater.training.stop import Stop


def test_a_mask_depends_on_its_sample_alone() -> None:
    net = nn.Sequential(nn.Dropout(0.25), nn.Dropout(0.25), nn.Dropout(0.0))
    keys = install(net)
    assert [isinstance(m, SampleDropout) for m in net] == [True, True, False]
    x = torch.ones(6, 4, 50, 50)
    keys.value = torch.arange(6) * 977
    first, whole = net[0](x), net(x)
    keys.value = keys.value[2:4]
    assert torch.equal(net(x[:2]), whole[2:4])
    assert torch.allclose((first == 0).float().mean(), torch.tensor(0.25), atol=0.01)
    assert torch.equal(first.unique(), torch.tensor([0, 1 / 0.75]))
    second = net[1](x[:2])
    assert not torch.equal(second, net[0](x[:2])), "two layers share a mask"
    net.eval()
    assert torch.equal(net(x), x)


def test_masks_are_unrelated_between_neighbours() -> None:
    net = nn.Sequential(nn.Dropout(0.5))
    install(net).value = torch.arange(64)
    kept = (net(torch.ones(64, 4096)) != 0).float() - 0.5
    assert abs((kept[:-1] * kept[1:]).mean()) < 0.005
    assert abs((kept[:, :-1] * kept[:, 1:]).mean()) < 0.005


def test_the_average_forgets_its_start_early() -> None:
    mine, theirs = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.zeros_(mine.weight)
    nn.init.ones_(theirs.weight)
    average = EMA(mine, 0.99)
    average.update(theirs, 1)
    assert mine.weight.item() == pytest.approx(1 - 2 / 11)
    before = mine.weight.item()
    average.update(theirs, 100_000)
    assert 1 - mine.weight.item() == pytest.approx(0.99 * (1 - before), rel=1e-4)


def test_a_signal_waits_for_the_end_of_the_step() -> None:
    seen = []

    def work(signals: int) -> None:
        with Stop() as stop:
            for _ in range(signals):
                signal.raise_signal(signal.SIGINT)
                seen.append(stop.asked)

    with pytest.raises(KeyboardInterrupt):
        work(1)
    assert seen == [signal.SIGINT]
    with pytest.raises(KeyboardInterrupt):
        work(2)
    assert len(seen) == 2, "the second signal must not wait"


def test_the_log_forgets_what_resume_repeats(tmp_path) -> None:
    path = tmp_path / "log.jsonl"
    journal = Journal(path, 0)
    for step in (5, 10, 15):
        journal.write({"step": step})
    path.write_text(path.read_text() + '{"step": 2')
    assert [line["step"] for line in read(path)] == [5, 10, 15]
    Journal(path, 10).write({"step": 12})
    assert [line["step"] for line in read(path)] == [5, 10, 12]


def test_a_sheet_places_pictures_row_by_row() -> None:
    images = torch.stack([torch.full((1, 4, 4), v) for v in (-1.0, 0.0, 1.0)])
    sheet = grid(images, columns=2)
    assert sheet.size == (8, 8)
    assert [sheet.getpixel(p) for p in ((0, 0), (4, 0), (0, 4), (4, 4))] == [0, 128, 255, 0]
    assert grid(torch.zeros(1, 3, 4, 4)).mode == "RGB"
