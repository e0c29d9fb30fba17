"""The comparison of published files at a thin width, its jobs in this process. Nothing here is timed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
import torch

from headwater.bench import published_job
from headwater.bench.published import PublishedModel
from headwater.errors import UserError
from headwater.models import conversion, diffusers
from headwater.sampling import Run

THIN = PublishedModel("256x256_diffusion_uncond", 32, 1 / 8)


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def job(self: PublishedModel, name: str, place: str) -> dict[str, Any]:
        said = published_job.main(json.dumps([name, asdict(self), place, torch.get_num_threads()]))
        return json.loads(json.dumps(said))

    monkeypatch.setattr(PublishedModel, "_job", job)


def test_both_sides_answer_alike_and_three_rows_come_out() -> None:
    read, forward, rounded = THIN.rows(Run(progress=False))
    assert (read.name, forward.name) == (
        "read 256x256_diffusion_uncond",
        "256x256_diffusion_uncond at 32 x 32",
    )
    assert "8.7 M numbers" in read.sizes
    assert "headwater inspect" in read.sizes
    assert read.slower
    assert forward.equal.startswith("answers, of the largest value, to")
    assert "channels_last" in rounded.equal
    assert all(row.ratio == row.peer_seconds / row.ours_seconds for row in (read, forward, rounded))  # pyright: ignore[reportOptionalOperand]


def test_other_weights_on_one_side_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest: Callable[..., dict[str, torch.Tensor]] = diffusers.weights_to_unet2d
    monkeypatch.setattr(
        diffusers,
        "weights_to_unet2d",
        lambda *args: {k: v * (1.01 if k == "conv_out.weight" else 1) for k, v in honest(*args).items()},
    )
    assert conversion.diffusers is diffusers
    with pytest.raises(UserError, match="answers"):
        THIN.rows(Run(progress=False))


def test_a_job_that_dies_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"write of nothing failed \(KeyError: 'nothing'\)"):
        PublishedModel("nothing", 32).rows(Run(progress=False))
