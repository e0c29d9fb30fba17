"""SIGKILL in the middle of `headwater fit METHOD`, then the same command with --resume."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from headwater.training import checkpoint

STEPS = 40
TINY = {
    "encoder_blocks": 1, "encoder_width": 4, "encoder_growth": 2,
    "shape": [1, 8, 8],
    "network": {
        "model_channels": 32, "channel_mult": [1], "num_res_blocks": 1, "attention_resolutions": [],
        "num_heads": 1, "dropout": 0.1,
    },
    "training": {"steps": STEPS, "batch_size": 2, "lr": 0.001, "ema": 0.9, "checkpoint_every": 0.0},
}  # fmt: skip
"""A checkpoint after every step, so that the kill falls between two or into one."""


def test_a_killed_fit_goes_on_to_the_same_weights(headwater, one_thread, pictures, labels, tmp_path):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    for more in ("p3.png", "more/p4.png"):
        (pictures / more).unlink()
    for path in labels.iterdir():  # of the size worked at
        Image.open(path).resize((8, 8)).save(path)
    words = ["fit", "segdiff", "--recipe", tmp_path / "tiny.yaml", "--image", pictures, "--labels", labels]
    assert headwater(*words, "--out", tmp_path / "whole").code == 0
    command = [sys.executable, "-m", "headwater", *words, "--out", tmp_path / "killed"]
    process = subprocess.Popen(
        [str(word) for word in command],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    folder, deadline = tmp_path / "killed/checkpoints", time.monotonic() + 120
    while len(checkpoint.steps(folder)) == 0 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -9
    assert 0 < max(checkpoint.steps(folder)) < STEPS
    assert not (tmp_path / "killed/fitted").exists()
    assert headwater(*words, "--out", tmp_path / "killed", "--resume").code == 0
    whole, resumed = (load_file(tmp_path / name / "fitted/model.safetensors") for name in ("whole", "killed"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
