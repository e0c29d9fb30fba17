"""Networks that methods trained, kept in folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from headwater.bench.peak_memory import peak_bytes
from headwater.errors import UserError
from headwater.models.saved import load_network, save_network


def build(about: dict[str, Any]) -> nn.Module:
    return nn.Linear(about["width"], 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_network(tmp_path / "fitted", nn.Linear(5, 2), {"kind": "toy", "width": 5})
    return tmp_path / "fitted"


def test_a_network_comes_back_frozen(tmp_path: Path) -> None:
    network = nn.Linear(5, 2)
    save_network(tmp_path / "fitted", network, {"kind": "toy", "width": 5, "words": ["a", "é"]})
    found, about = load_network(tmp_path / "fitted", build, "toy")
    assert torch.equal(found.state_dict()["weight"], network.weight)
    assert about["words"] == ["a", "é"]
    assert not found.training
    assert not any(p.requires_grad for p in found.parameters())


def test_damage_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match="fitted for toy, not for csdi"):
        load_network(folder, build, "csdi")
    with pytest.raises(UserError, match="is no folder"):
        load_network(folder / "none", build, "toy")
    weights = folder / "network.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match="is not the file that was written"):
        load_network(folder, build, "toy")


@pytest.mark.parametrize("change", [{"width": 6}, {"width": "many"}, {"width": None}, {"width": 1 << 62}])
def test_files_that_disagree_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    save_network(tmp_path / "fitted", nn.Linear(5, 2), {"kind": "toy", "width": 5, **change})
    with pytest.raises(UserError, match="disagree"):
        load_network(tmp_path / "fitted", build, "toy")


def tower(about: dict[str, Any]) -> nn.Module:
    return nn.Sequential(*(nn.Linear(about["width"], about["width"]) for _ in range(about["depth"])))


@pytest.mark.parametrize("change", [{"width": 1 << 13}, {"depth": 1 << 16}])
def test_a_hostile_description_takes_no_memory(tmp_path: Path, change: dict[str, int]) -> None:
    """268 MB of weights, or more layers than were stored: refused, this process's peak as it was."""
    save_network(tmp_path / "fitted", nn.Linear(4, 4), {"kind": "toy", "width": 4, "depth": 1, **change})
    before = peak_bytes()
    with pytest.raises(UserError, match="disagree"):
        load_network(tmp_path / "fitted", tower, "toy")
    assert peak_bytes() - before < 30e6


def test_integers_and_doubles_come_back_as_numbers_of_their_kind(tmp_path: Path) -> None:
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1, dtype=torch.float64))
    network[0].num_batches_tracked += (1 << 24) + 1  # more than float32 can count
    save_network(tmp_path / "fitted", network, {"kind": "toy"})
    found, _ = load_network(
        tmp_path / "fitted", lambda about: nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1)), "toy"
    )
    assert found.state_dict()["0.num_batches_tracked"] == (1 << 24) + 1
    assert found.state_dict()["1.weight"].dtype == torch.float32


def test_a_newer_format_is_refused(folder: Path) -> None:
    about = json.loads((folder / "about.json").read_text())
    save_network(folder, nn.Linear(5, 2), {**about, "format": 9})
    with pytest.raises(UserError, match="newer headwater"):
        load_network(folder, build, "toy")
