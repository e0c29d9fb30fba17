"""Two processes under torchrun train as one process does, to float rounding, also when one was killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from headwater.models import Prior, ProcessConfig
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.training import Recipe, TrainerConfig, fit
from under_torchrun import torchrun

RECIPE = Recipe(
    data="tiny",
    shape=(1, 8, 8),
    network=UNetArchitecture(channel_mult=(1, 2), attention_resolutions=(2,), dropout=0.1),
    process=ProcessConfig(T=4, betas="cosine"),
    augment=("flip",),
    training=TrainerConfig(
        8, 4, 1e-4, warmup=2, decay="cosine", grad_clip=1.0, ema=0.999, grad_accumulation=2, log_every=1,
        checkpoint_every=0.0, held_out=0.25, evaluate_every=4, keep_best=True,
    ),
    sample_every=0,
)  # fmt: skip


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path) -> None:
    RECIPE.save(tmp_path / "r.yaml")
    alone = fit(RECIPE, tmp_path / "one", progress=False)
    words = ["fit", "prior", "--recipe", tmp_path / "r.yaml", "--out", tmp_path / "two", "--json"]
    killed = torchrun(*words, kill=tmp_path / "two/checkpoints/step-00000003")
    assert killed.code == 1
    assert killed.out == ""
    assert len(killed.sentences) == 1
    assert "another process" in killed.sentences[0]
    # Goes on with the weights spread over both (FSDP), from the checkpoint of two that held them all.
    done = torchrun(*words, "--resume", "--sharded")
    assert (done.code, done.sentences) == (0, [])
    assert json.loads(done.out)["finished"] is True
    logs = [(tmp_path / name / "checkpoints/log.jsonl").read_text().splitlines() for name in ("one", "two")]
    one, two = ([json.loads(line) for line in log] for log in logs)
    assert len(one) == len(two) == 8
    for a, b in zip(one, two, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3)
        assert a.get("held_out") == (pytest.approx(b["held_out"], rel=1e-5) if "held_out" in b else None)
    assert [a["step"] for a in one if "held_out" in a] == [4, 8]
    together = Prior.from_pretrained(tmp_path / "two" / "prior")
    for a, b in zip(alone.network.parameters(), together.network.parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-4)
    kept = load_file(tmp_path / "two/checkpoints/step-00000008/best.safetensors")
    assert all(torch.equal(kept[name], value) for name, value in together.network.state_dict().items())
