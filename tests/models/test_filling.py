"""A network and the file it was read from: whatever happens to either, the other stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from headwater.models.filling import fill
from headwater.models.state import load_state


class Two(nn.Module):
    """Two layers alike."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 7), nn.Linear(5, 7)


def saved(path: Path) -> dict[str, Tensor]:
    torch.manual_seed(0)
    state = {k: torch.randn_like(v) for k, v in Two().state_dict().items()}
    (save_file if path.suffix == ".safetensors" else torch.save)(state, path)
    return state


def read(path: Path) -> dict[str, Tensor]:
    with torch.device("meta"):
        network = Two()
    return dict(fill(network, load_state(path)).named_parameters())


@pytest.fixture(params=["weights.pt", "weights.safetensors"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / request.param


def test_training_leaves_the_file_as_it_was(path: Path) -> None:
    state = saved(path)
    written = path.read_bytes()
    first, second = read(path), read(path)
    with torch.no_grad():
        for p in first.values():
            p.add_(1)
    assert path.read_bytes() == written
    for name, value in state.items():
        torch.testing.assert_close(second[name], nn.Parameter(value), rtol=0, atol=0)
        torch.testing.assert_close(first[name], nn.Parameter(value + 1), rtol=0, atol=0)


def test_the_file_may_go_or_be_written_over(path: Path) -> None:
    """A file mapped into memory would take the process with it when it is cut short."""
    state = saved(path)
    found = read(path)
    path.write_bytes(b"")
    path.unlink()
    for name, value in state.items():
        assert torch.equal(found[name], value)


def test_tensors_that_share_numbers_are_trained_apart(tmp_path: Path) -> None:
    path = tmp_path / "tied.pt"
    whole = torch.arange(42.0)
    state = {"a.weight": whole[:35].view(7, 5), "b.weight": whole[7:].view(7, 5)}
    torch.save({**state, "a.bias": whole[:7], "b.bias": torch.zeros(7)}, path)
    found = read(path)
    with torch.no_grad():
        found["a.weight"].zero_()
    assert torch.equal(found["b.weight"], state["b.weight"])
    assert torch.equal(found["a.bias"], whole[:7])
