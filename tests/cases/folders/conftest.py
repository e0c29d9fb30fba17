"""A pipeline as diffusers writes it, and what is said while it is read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from checkpoint_files import STEM, TRAINED
from headwater.cli import main


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline as diffusers writes it: a U-Net with attention, v on a cosine chain of 20 steps."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(4,),
        layers_per_block=1,
        down_block_types=("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",),
        attention_head_dim=4,
        norm_num_groups=2,
    )
    options = {k: v for k, v in TRAINED.items() if k != "_class_name"}
    folder = tmp_path_factory.mktemp("made") / "pipeline"
    DDPMPipeline(unet, DDPMScheduler(**options)).save_pretrained(folder)
    return folder


@pytest.fixture
def pipeline(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "pipeline"))


@pytest.fixture
def state(made: Path) -> dict[str, Tensor]:
    return load_file(made / "unet" / f"{STEM}.safetensors")


@pytest.fixture
def notes(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """What was noted since the last call, one line each."""

    def heard() -> str:
        said = "\n".join(record.getMessage() for record in caplog.records if record.name == "headwater")
        caplog.clear()
        return said

    return heard


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Exit code, standard output and standard error of one command line."""

    def call(*words: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([str(word) for word in words])
        return code, *capfd.readouterr()

    return call
