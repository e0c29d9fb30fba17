"""Two processes under torchrun train as one process does, to float rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from headwater.priors import Prior, ProcessConfig
from headwater.train import Architecture, Recipe, fit

RECIPE = Recipe(
    data="tiny",
    shape=(1, 8, 8),
    network=Architecture(channel_mult=(1, 2), attention_resolutions=(2,), dropout=0.1),
    process=ProcessConfig(T=4, betas="cosine"),
    augment=("flip",),
    steps=8,
    batch=8,
    grad_accumulation=2,
    lr=1e-4,
    warmup=2,
    log_every=1,
    sample_every=0,
)
CHILD = """
import sys, torch
from headwater.train import Recipe, fit
torch.manual_seed(int(__import__("os").environ["RANK"]))
fit(Recipe.load(sys.argv[1]), sys.argv[2], progress=False, resume=True, max_minutes=float(sys.argv[3]))
"""


def torchrun(recipe: Path, out: Path, max_minutes: float = 60.0) -> None:
    (out.parent / "child.py").write_text(CHILD)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [str(out.parent / "child.py"), str(recipe), str(out), str(max_minutes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path) -> None:
    RECIPE.save(tmp_path / "r.yaml")
    alone = fit(RECIPE, tmp_path / "one", progress=False)
    # Stopped after its first step and resumed, so that this path is shared too.
    torchrun(tmp_path / "r.yaml", tmp_path / "two", 0.0)
    torchrun(tmp_path / "r.yaml", tmp_path / "two")
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("one", "two")]
    one, two = ([json.loads(line) for line in log] for log in logs)
    assert len(one) == len(two) == 8
    for a, b in zip(one, two, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3)
    together = Prior.from_pretrained(tmp_path / "two" / "prior")
    for a, b in zip(alone.network.parameters(), together.network.parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-4)
