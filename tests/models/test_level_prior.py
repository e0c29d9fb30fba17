"""A prior whose network is told how much of the picture is left: its folder, its file, what is refused."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from headwater.errors import UserError
from headwater.models import Prior, PriorConfig, ProcessConfig, convert, inspect
from headwater.nets.features import activations, block_names
from headwater.nets.level_unet import LevelUNetConfig

SIZES = LevelUNetConfig(32, (1, 2), 1, (2,), in_channels=3)
CONFIG = PriorConfig({"kind": "level", **asdict(SIZES)}, (3, 8, 8), ProcessConfig(T=20, low=1e-3, high=0.3))


@pytest.fixture
def prior() -> Prior:
    return Prior.fresh(CONFIG, seed=0)


def theirs(prior: Prior, path: Path, prefix: str = "denoise_fn.", apart: bool = True) -> Path:
    """The file of the reference code, whose first convolution stands apart; or of SR3's without a picture."""
    state = {}
    for name, value in prior.network.state_dict().items():
        head, _, rest = name.removeprefix("downs.").partition(".")
        if apart and name.startswith("downs."):
            name = f"init_conv.{rest}" if head == "0" else f"downs.{int(head) - 1}.{rest}"
        state[prefix + name] = value
    torch.save({**state, "betas": torch.ones(20)} if prefix else state, path)
    return path


def test_it_is_kept_and_draws(prior: Prior, tmp_path: Path) -> None:
    prior.save_pretrained(tmp_path / "p")
    again = Prior.from_pretrained(tmp_path / "p")
    assert again.hash == Prior.from_pretrained(tmp_path / "p").hash
    torch.testing.assert_close(again.process.label, again.process.alpha)
    drawn = again.sample(2, 3, seed=0, progress=False)
    torch.testing.assert_close(drawn[:1], again.sample(1, 3, seed=0, progress=False))
    other = Prior.from_pretrained(tmp_path / "p", T=30)
    assert other.process.T == 30


@pytest.mark.parametrize(("prefix", "apart"), [("denoise_fn.", True), ("", True), ("", False)])
def test_its_authors_files_are_read(prior: Prior, tmp_path: Path, prefix: str, apart: bool) -> None:
    path = theirs(prior, tmp_path / "gen.pth", prefix, apart)
    found = Prior.from_pretrained(path, shape=(3, 8, 8))
    assert all(
        torch.equal(a, b) for a, b in zip(found.network.parameters(), prior.network.parameters(), strict=True)
    )
    assert (found.process.T, found.config.network["kind"]) == (2000, "level")
    report = inspect(path)
    assert report.network["kind"] == "level"
    assert "say it by headwater convert" in report.remark  # its pictures' size
    convert(path, tmp_path / "ours", shape=(3, 8, 8))
    assert Prior.from_pretrained(tmp_path / "ours").shape == (3, 8, 8)


def test_blocks_are_counted_as_in_guided_diffusion(prior: Prior) -> None:
    x, told = torch.randn(1, 3, 8, 8), torch.full((1,), 0.9)
    network = prior.network
    assert [n for n in block_names(network) if n.startswith("output")] == [
        f"output_blocks.{i}" for i in range(4)
    ]
    sides = [v.shape[-1] for v in activations(network, x, told, [0, 1, 2, 3]).values()]
    assert sides == [4, 8, 8, 8]  # the last block of a level makes it larger


def test_what_it_cannot_be_is_said(prior: Prior, tmp_path: Path) -> None:
    for config, said in (
        (replace(CONFIG, process=ProcessConfig("ve", T=20)), "preserves the variance"),
        (replace(CONFIG, network={**CONFIG.network, "in_channels": 6}), "as many channels"),
        (replace(CONFIG, network={**CONFIG.network, "groups": 7}), "multiple of 7"),
        (replace(CONFIG, network={**CONFIG.network, "model_channels": 1 << 15}), "this wide or deep"),
    ):
        with pytest.raises(UserError, match=said):
            config.denoiser(config.build_network())
    prior.save_pretrained(tmp_path / "p")
    for to in ("adm", "diffusers"):
        with pytest.raises(UserError, match="only our own folders can hold"):
            convert(tmp_path / "p", tmp_path / "q.pt", to)
