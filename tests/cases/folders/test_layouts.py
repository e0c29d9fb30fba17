"""Folders as diffusers, its training script and the hub lay them out."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from checkpoint_files import STEM, answer, only, rewrite, same
from headwater.errors import UserError
from headwater.models import Prior, hub, inspect

# Layouts


def flat(pipeline: Path) -> Path:
    for path in [*(pipeline / "unet").iterdir(), *(pipeline / "scheduler").iterdir()]:
        path.rename(pipeline / path.name)
    (pipeline / "unet").rmdir(), (pipeline / "scheduler").rmdir()
    return pipeline


def snapshot(pipeline: Path) -> Path:
    """A repository in the hub's cache: blobs by hash, links from a snapshot of every commit."""
    repo = pipeline.parent / "models--org--name"
    (repo / "blobs").mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    (repo / "snapshots" / ("b" * 40)).mkdir(parents=True)
    for path in [p for p in pipeline.rglob("*") if p.is_file()]:
        blob = repo / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        path.rename(blob)
        link = repo / "snapshots" / ("a" * 40) / path.relative_to(pipeline)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    return repo


@pytest.mark.parametrize(
    "laid",
    [
        flat,
        snapshot,
        lambda p: snapshot(p) / "snapshots" / ("a" * 40),
        lambda p: (p / "model_index.json").unlink() or p,
        lambda p: (p / "unet").rename(p / "unet_ema") and ((p / "model_index.json").unlink() or p),
        lambda p: p / "unet" / f"{STEM}.safetensors",
    ],
    ids=["flat", "cache", "snapshot", "no-index", "ema-and-scheduler", "weights"],
)
def test_layouts_are_read_alike(pipeline: Path, made: Path, laid: Callable[[Path], Path]) -> None:
    where = laid(pipeline)
    assert same(where, made)
    config = Prior.from_pretrained(where).config
    assert config == Prior.from_pretrained(made).config
    assert inspect(where).config == config


def test_a_unet_is_read_with_the_scheduler_that_lies_with_it(
    pipeline: Path, notes: Callable[[], str]
) -> None:
    """The U-Net of a pipeline, and those in the checkpoints of the training that wrote it."""
    inside = pipeline / "checkpoint-500" / "unet_ema"
    shutil.copytree(pipeline / "unet", inside)
    for where in (pipeline / "unet", inside, pipeline / "checkpoint-500"):
        config = Prior.from_pretrained(where).config
        assert (config.process.T, config.process.betas, config.predicts) == (20, "cosine", "v")
        path = pipeline / "scheduler" / "scheduler_config.json"
        assert notes() == f"{where}: the scheduler that lies with it is taken, {path}"


def test_the_unet_of_a_latent_pipeline_is_refused(pipeline: Path) -> None:
    rewrite(pipeline / "model_index.json", vqvae=["diffusers", "VQModel"])
    for where in (pipeline, pipeline / "unet", pipeline / "unet" / f"{STEM}.safetensors"):
        with pytest.raises(UserError, match=r"pipeline with vqvae = .*: only UNet2DModel on pixels"):
            Prior.from_pretrained(where)


def test_of_a_training_s_networks_the_average_is_taken(
    pipeline: Path, made: Path, state: dict[str, Tensor], notes: Callable[[], str]
) -> None:
    whole = pipeline.parent / "out" / "checkpoint-500"
    shutil.copytree(pipeline / "unet", whole / "unet_ema")
    shutil.copytree(pipeline / "unet", whole / "unet")
    only(whole / "unet", safetensors={k: torch.zeros_like(v) for k, v in state.items()})
    prior = Prior.from_pretrained(whole)
    assert torch.equal(answer(prior.network), answer(Prior.from_pretrained(made).network))
    assert notes().startswith(
        f"{whole}: the network in unet_ema/ is taken, not unet\n{whole}: no scheduler_config"
    )
    shutil.copytree(whole, whole.parent / "checkpoint-1000")
    with pytest.raises(
        UserError, match="holds no prior: give one of those in it: checkpoint-1000, checkpoint-500"
    ):
        Prior.from_pretrained(whole.parent)
    with pytest.raises(UserError, match="holds no checkpoint: give one of those in it: checkpoint-1000"):
        inspect(whole.parent)
    with pytest.raises(UserError, match=r"give one of those in it: pipeline"):
        Prior.from_pretrained(pipeline.parent)


@pytest.mark.parametrize("name", ["DDIMPipeline", "PNDMPipeline", "RePaintPipeline"])
def test_other_pipelines_of_the_same_parts(pipeline: Path, made: Path, name: str) -> None:
    rewrite(pipeline / "model_index.json", _class_name=name)
    kind = name.replace("Pipeline", "Scheduler")
    rewrite(pipeline / "model_index.json", scheduler=["diffusers", kind])
    rewrite(pipeline / "scheduler" / "scheduler_config.json", _class_name=kind)
    assert same(pipeline, made)


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (
            {"scheduler": ["diffusers", "ScoreSdeVeScheduler"]},
            "with scheduler = .*ScoreSdeVe.*DDPM's chain or of EDM",
        ),
        ({"unet": ["diffusers", "UNet2DConditionModel"]}, "pipeline with unet = "),
        ({"unet": [None, None]}, "names no UNet2DModel"),
        ({"../x": ["diffusers", "UNet2DModel"], "unet": [None, None]}, "names no UNet2DModel"),
    ],
)
def test_pipelines_of_other_parts(pipeline: Path, part: dict, why: str) -> None:
    rewrite(pipeline / "model_index.json", **part)
    with pytest.raises(UserError, match=why):
        Prior.from_pretrained(pipeline)


def test_half_a_pipeline(pipeline: Path) -> None:
    shutil.rmtree(pipeline / "unet")
    with pytest.raises(
        UserError, match=r"has neither unet/config.json nor config.json: download the whole folder"
    ):
        Prior.from_pretrained(pipeline)


def test_fourier_features_and_other_answers_are_refused(pipeline: Path) -> None:
    config = pipeline / "unet" / "config.json"
    for changes, why in (
        ({"time_embedding_type": "fourier"}, "by Fourier features"),
        ({"out_channels": 3, "time_embedding_type": "positional"}, "answers 3 channels to 1"),
        ({"out_channels": 1, "sample_size": -8}, "pictures of 1x-8x-8 cannot be"),
        ({"sample_size": 9, "block_out_channels": [4, 4]}, "multiples of 2, not 9x9"),
    ):
        rewrite(config, **changes)
        with pytest.raises(UserError, match=why):
            Prior.from_pretrained(pipeline)


def test_the_hub_gives_pickles_where_there_is_nothing_else(
    pipeline: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download",
        lambda *a, **k: asked.append(k["allow_patterns"]) or str(pipeline),
    )
    hub.download("org/name", None)
    only(pipeline / "unet", bin=state)
    hub.download("org/name", None)
    assert ["*.bin" in patterns for patterns in asked] == [False, False, True]
