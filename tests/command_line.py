"""A tiny prior with random weights, small pictures, and the command line called in this process."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from headwater.cli import main
from headwater.models import Prior, PriorConfig, ProcessConfig
from headwater.nets.adm import UNet, UNetConfig

SIDE = 16


@dataclasses.dataclass(frozen=True)
class Said:
    """What one call of the command line answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be JSON and nothing else."""

        def refuse(word: str) -> None:
            raise AssertionError(f"{word} is not JSON")

        return json.loads(self.out, parse_constant=refuse)

    def sentence(self, code: int) -> str:
        """The one sentence of a failure with this exit code."""
        assert self.code == code, self
        assert self.out == "", self
        assert self.err.startswith("headwater: "), self
        assert self.err.count("\n") == 1, self
        assert "Traceback" not in self.err
        assert "bug" not in self.err, self
        return self.err.removeprefix("headwater: ").strip()


@pytest.fixture
def one_thread():
    """As many threads as a process started by a test: sums in another order are other bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def headwater(capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`headwater("list", "--json")` runs one command line."""

    def call(*words: object) -> Said:
        capfd.readouterr()
        code = main([str(word) for word in words])
        found = capfd.readouterr()
        return Said(code, found.out, found.err)

    return call


@pytest.fixture(scope="session")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior of 1 x 16 x 16 pictures with 20 levels; it draws noise."""
    network: dict[str, Any] = {"in_channels": 1, "out_channels": 1, "model_channels": 32, "num_res_blocks": 1}
    config = PriorConfig(
        {"kind": "adm", **network, "channel_mult": [1], "attention_resolutions": []},
        (1, SIDE, SIDE),
        ProcessConfig(T=20),
        predicts="v",
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = UNet(UNetConfig(**network, channel_mult=(1,), attention_resolutions=()))
        for parameter in built.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
    folder = tmp_path_factory.mktemp("prior") / "tiny"
    Prior(built.eval(), config).save_pretrained(folder)
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of five pictures of another size, one of them below a folder."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for i in range(5):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 18), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / ("more" if i == 4 else ".") / f"p{i}.png")
    return folder


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    """White with a black hole."""
    pixels = np.full((SIDE, SIDE), 255, dtype=np.uint8)
    pixels[4:10, 4:10] = 0
    Image.fromarray(pixels).save(tmp_path / "known.png")
    return tmp_path / "known.png"


@pytest.fixture
def labels(tmp_path: Path, pictures: Path) -> Path:
    """Label maps of the first three pictures: left class 0, right class 1."""
    folder = tmp_path / "labels"
    folder.mkdir()
    grid = np.zeros((SIDE, SIDE), dtype=np.uint8)
    grid[:, SIDE // 2 :] = 1
    for i in range(3):
        Image.fromarray(grid).save(folder / f"p{i}.png")
    return folder


@pytest.fixture
def repaint(prior: Path, mask: Path, pictures: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """The words of a short RePaint over the pictures; keywords change or, being None, drop options."""

    def words(**changes: object) -> list[str]:
        options: dict[str, object] = {
            "prior": prior,
            "image": pictures,
            "known": mask,
            "out": tmp_path / "out",
            "steps": 2,
            "jump": 1,
            "resample": 1,
            **changes,
        }
        pairs = [(f"--{k.replace('_', '-')}", str(v)) for k, v in options.items() if v is not None]
        return ["apply", "repaint", *(word for pair in pairs for word in pair)]

    return words
