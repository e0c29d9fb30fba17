"""SIGKILL at any moment, then resume: the weights of a training that was never interrupted.

HEADWATER_KILLS=200 kills 200 times instead of a few.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from headwater.atomic import ASIDE
from headwater.models import Prior, ProcessConfig
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.training import Recipe, TrainerConfig, checkpoint, fit
from headwater.training.journal import read

KILLS = int(os.environ.get("HEADWATER_KILLS", "20"))
RECIPE = Recipe(
    data="tiny",
    shape=(1, 8, 8),
    network=UNetArchitecture(channel_mult=(1,), attention_resolutions=(), dropout=0.1),
    process=ProcessConfig(T=4, betas="cosine"),
    augment=("flip",),
    training=TrainerConfig(
        20, 4, 1e-3, warmup=4, decay="cosine", grad_clip=1.0, ema=0.999, log_every=3, checkpoint_every=0.0
    ),
    sample_every=7,
)


def child(out: Path) -> int:
    """A process of its own that trains on, started by fork because importing takes seconds."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        torch.set_num_threads(1)
        fit(RECIPE, out, resume=True, progress=False)
        status = 0
    finally:
        os._exit(status)


def ended(pid: int) -> int | None:
    """The exit code of a process, or None while it runs."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def saving(folder: Path) -> bool:
    """Whether a save is under way, or was when its process died."""
    return any(ASIDE.fullmatch(path.name) for path in folder.glob(".headwater-*"))


def live(pid: int, seconds: float, folder: Path, in_save: bool, dice: random.Random) -> int | None:
    """Let a process run for a while, with `in_save` until its next save has begun; its exit code if any."""
    until = time.monotonic() + seconds
    while time.monotonic() < until or (in_save and not saving(folder)):
        code = ended(pid)
        if code is not None:
            return code
        time.sleep(0.0005)
    if in_save:
        time.sleep(dice.uniform(0, 0.03))
    return ended(pid)


def finish(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.slow
@pytest.mark.timeout(max(1800, 60 * KILLS))
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_killed_at_any_moment(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    begun = time.monotonic()
    assert finish(child(tmp_path / "whole")) == 0
    seconds = time.monotonic() - begun
    whole = Prior.from_pretrained(tmp_path / "whole" / "prior").network.state_dict()
    dice = random.Random(0)
    kills = in_saves = trainings = 0
    while kills < KILLS:
        out = tmp_path / f"killed-{trainings}"
        folder = out / "checkpoints"
        trainings += 1
        code = None
        while code is None:
            before = checkpoint.steps(folder)
            pid = child(out)
            if kills == KILLS:
                code = finish(pid)
                break
            in_save = kills % 2 == 0
            code = live(pid, dice.uniform(0, seconds / (4 if in_save else 2)), folder, in_save, dice)
            if code is None:
                os.kill(pid, signal.SIGKILL)
                finish(pid)
                kills += 1
                in_saves += saving(folder)
                assert not before or checkpoint.newest(folder) is not None
        assert code == 0
        killed = Prior.from_pretrained(out / "prior").network.state_dict()
        assert all(torch.equal(whole[k], killed[k]) for k in whole)
        assert log(out) == log(tmp_path / "whole")
    print(f"{kills} kills in {trainings} trainings, {in_saves} in the middle of a save")
    assert in_saves > 0


def log(out: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in read(out / "checkpoints/log.jsonl")]
