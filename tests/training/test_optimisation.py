"""Training any network: it learns, resumes bit for bit, and refuses what cannot go on."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from headwater.errors import UserError
from headwater.noise import derive
from headwater.sampling import Run
from headwater.training.drive import learning_rate
from headwater.training.optimisation import Optimisation, train
from headwater.training.order import batch_rows
from headwater.training.processes import Processes

HOW = Optimisation(steps=12, batch=8, lr=0.05, ema=0.9, checkpoint_every=0)
RUN = Run(seed=3, progress=False)


def fresh() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 1))


X = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
Y = X.prod(1, keepdim=True)


def loss(network: nn.Module, step: int) -> Tensor:
    rows = batch_rows(3, len(X), 8, step)
    noise = torch.randn(8, 3, generator=torch.Generator().manual_seed(derive(3, 9, step)))
    return (network(X[rows] + 0.1 * noise) - Y[rows]).square().mean()


def test_the_loss_falls_and_the_result_is_frozen() -> None:
    network = train(fresh(), loss, replace(HOW, steps=300), RUN)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert float((network(X) - Y).square().mean()) < 0.5 * float(Y.square().mean())


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", [1, 5, 11])
def test_an_interrupted_training_ends_bit_identically(tmp_path: Path, at: int) -> None:
    whole = train(fresh(), loss, HOW, RUN).state_dict()

    def dies(network: nn.Module, step: int) -> Tensor:
        if step == at:
            raise Killed
        return loss(network, step)

    kept = replace(RUN, checkpoint_dir=tmp_path / "kept")
    with pytest.raises(Killed):
        train(fresh(), dies, HOW, kept)
    done: list[int] = []

    def counted(network: nn.Module, step: int) -> Tensor:
        done.append(step)
        return loss(network, step)

    resumed = train(fresh(), counted, HOW, kept).state_dict()
    assert done == list(range(at, HOW.steps))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_finished_training_is_only_read_again(tmp_path: Path) -> None:
    kept = replace(RUN, checkpoint_dir=tmp_path)
    first = train(fresh(), loss, HOW, kept).state_dict()

    def never(network: nn.Module, step: int) -> Tensor:
        raise AssertionError("trained again")

    again = train(fresh(), never, HOW, kept).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_other_settings_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    train(fresh(), loss, HOW, replace(RUN, checkpoint_dir=tmp_path), {"width": 16})
    with pytest.raises(UserError, match="another width"):
        train(fresh(), loss, HOW, replace(RUN, checkpoint_dir=tmp_path), {"width": 8})
    with pytest.raises(UserError, match="another training"):
        train(fresh(), loss, replace(HOW, lr=0.1), replace(RUN, checkpoint_dir=tmp_path), {"width": 16})


def test_a_loss_that_is_not_finite_stops_before_the_weights_move(tmp_path: Path) -> None:
    network = fresh()
    before = {k: v.clone() for k, v in network.state_dict().items()}

    def bad(network: nn.Module, step: int) -> Tensor:
        return loss(network, step) * float("nan")

    with pytest.raises(UserError, match="lower lr"):
        train(network, bad, HOW, RUN)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_every_item_is_seen_once_an_epoch() -> None:
    rows = torch.cat([batch_rows(0, 10, 4, step) for step in range(5)])
    assert sorted(rows[:10].tolist()) == list(range(10))
    assert sorted(rows[10:].tolist()) == list(range(10))
    assert rows[:10].tolist() != rows[10:].tolist()


def test_rates_fall_as_they_are_told() -> None:
    how = Optimisation(steps=100, lr=1.0, decay="step")
    assert [round(learning_rate(how, s), 6) for s in (74, 75, 89, 90)] == [1.0, 0.1, 0.1, 0.01]
    assert learning_rate(replace(how, decay="linear"), 50) == pytest.approx(0.5)
    assert learning_rate(replace(how, decay="none", warmup=10), 4) == pytest.approx(0.5)


def test_a_step_averages_its_batches() -> None:
    plain = nn.Linear(3, 1)
    seen: list[int] = []

    def one(network: nn.Module, step: int) -> Tensor:
        seen.append(step)
        return (network(X[step * 4 : step * 4 + 4]) - Y[step * 4 : step * 4 + 4]).square().mean()

    def both(network: nn.Module, step: int) -> Tensor:
        return (one(network, 2 * step) + one(network, 2 * step + 1)) / 2

    how = replace(HOW, steps=3, batch=4)
    split = train(copy.deepcopy(plain), one, replace(how, batches=2), RUN)
    assert seen == list(range(6))
    whole = train(copy.deepcopy(plain), both, how, RUN)
    for a, b in zip(split.parameters(), whole.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-6)


def test_what_processes_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def two(device: str) -> Iterator[Processes]:
        yield Processes(torch.device(device), 2)

    monkeypatch.setattr("headwater.training.optimisation.processes", two)
    with pytest.raises(UserError, match="cannot share evenly"):
        train(fresh(), loss, HOW, RUN)
    counting = nn.Sequential(nn.Linear(3, 1), nn.BatchNorm1d(1))
    with pytest.raises(UserError, match="keeps count"):
        train(counting, loss, replace(HOW, batches=2), RUN)
