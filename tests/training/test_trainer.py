"""Training any network: it learns, resumes bit for bit, and refuses what cannot go on."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.errors import UserError
from headwater.nets.adm import UNet, UNetConfig
from headwater.noise import derive
from headwater.sampling import Run
from headwater.training import Adversary, TrainerConfig, train
from headwater.training.blocks import blocks, recomputed
from headwater.training.config import first_beta, learning_rate
from headwater.training.journal import read
from headwater.training.processes import Processes
from headwater.training.trainer import batch_rows

HOW = TrainerConfig(steps=12, batch_size=8, lr=0.05, ema=0.9, checkpoint_every=0)
RUN = Run(seed=3, progress=False)


def fresh() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 1))


X = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
Y = X.prod(1, keepdim=True)


def loss(network: nn.Module, rows: Tensor, step: int) -> Tensor:
    noise = torch.randn(len(rows), 3, generator=torch.Generator().manual_seed(derive(3, 9, step)))
    return (network(X[rows] + 0.1 * noise) - Y[rows]).square().mean()


def test_the_loss_falls_and_the_result_is_frozen() -> None:
    network = train(fresh(), loss, len(X), replace(HOW, steps=300), RUN)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert float((network(X) - Y).square().mean()) < 0.5 * float(Y.square().mean())


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", [1, 5, 11])
def test_an_interrupted_training_ends_bit_identically(tmp_path: Path, at: int) -> None:
    whole = train(fresh(), loss, len(X), HOW, RUN).state_dict()

    def dies(network: nn.Module, rows: Tensor, step: int) -> Tensor:
        if step == at:
            raise Killed
        return loss(network, rows, step)

    kept = replace(RUN, checkpoint_dir=tmp_path / "kept")
    with pytest.raises(Killed):
        train(fresh(), dies, len(X), HOW, kept)
    done: list[int] = []

    def counted(network: nn.Module, rows: Tensor, step: int) -> Tensor:
        done.append(step)
        return loss(network, rows, step)

    resumed = train(fresh(), counted, len(X), HOW, kept).state_dict()
    assert done == list(range(at, HOW.steps))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_finished_training_is_only_read_again(tmp_path: Path) -> None:
    kept = replace(RUN, checkpoint_dir=tmp_path)
    first = train(fresh(), loss, len(X), HOW, kept).state_dict()

    def never(network: nn.Module, rows: Tensor, step: int) -> Tensor:
        raise AssertionError("trained again")

    again = train(fresh(), never, len(X), HOW, kept).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_other_settings_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    train(fresh(), loss, len(X), HOW, replace(RUN, checkpoint_dir=tmp_path), {"width": 16})
    with pytest.raises(UserError, match=r"width is 8 but .* has 16: go on with the same settings"):
        train(fresh(), loss, len(X), HOW, replace(RUN, checkpoint_dir=tmp_path), {"width": 8})
    with pytest.raises(UserError, match=r"training\.lr is 0\.1 but .* has 0.05"):
        train(
            fresh(), loss, len(X), replace(HOW, lr=0.1), replace(RUN, checkpoint_dir=tmp_path), {"width": 16}
        )


def test_a_loss_that_is_not_finite_stops_before_the_weights_move(tmp_path: Path) -> None:
    network = fresh()
    before = {k: v.clone() for k, v in network.state_dict().items()}

    def bad(network: nn.Module, rows: Tensor, step: int) -> Tensor:
        return loss(network, rows, step) * float("nan")

    with pytest.raises(UserError, match="lower lr"):
        train(network, bad, len(X), HOW, RUN)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_every_item_is_seen_once_an_epoch() -> None:
    rows = torch.cat([batch_rows(0, 10, 4, step) for step in range(5)])
    assert sorted(rows[:10].tolist()) == list(range(10))
    assert sorted(rows[10:].tolist()) == list(range(10))
    assert rows[:10].tolist() != rows[10:].tolist()


def test_rates_fall_as_they_are_told() -> None:
    how = TrainerConfig(steps=100, lr=1.0, decay="step")
    assert [round(learning_rate(how, s), 6) for s in (74, 75, 89, 90)] == [1.0, 0.1, 0.1, 0.01]
    assert learning_rate(replace(how, decay="linear"), 50) == pytest.approx(0.5)
    assert learning_rate(replace(how, decay="none", warmup=10), 4) == pytest.approx(0.5)


def test_a_step_averages_its_batches() -> None:
    plain = nn.Linear(3, 1)
    seen: list[int] = []

    def one(network: nn.Module, rows: Tensor, step: int) -> Tensor:
        seen.append(step)
        return (network(X[step * 4 : step * 4 + 4]) - Y[step * 4 : step * 4 + 4]).square().mean()

    def both(network: nn.Module, rows: Tensor, step: int) -> Tensor:
        return (one(network, rows, 2 * step) + one(network, rows, 2 * step + 1)) / 2

    how = replace(HOW, steps=3, batch_size=4)
    split = train(copy.deepcopy(plain), one, len(X), replace(how, grad_accumulation=2), RUN)
    assert seen == list(range(6))
    whole = train(copy.deepcopy(plain), both, len(X), how, RUN)
    for a, b in zip(split.parameters(), whole.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-6)


def test_what_processes_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def two(device: str) -> Iterator[Processes]:
        yield Processes(torch.device(device), 2)

    monkeypatch.setattr("headwater.training.trainer.processes", two)
    with pytest.raises(UserError, match="cannot share evenly"):
        train(fresh(), loss, len(X), HOW, RUN)
    counting = nn.Sequential(nn.Linear(3, 1), nn.BatchNorm1d(1))
    with pytest.raises(UserError, match="keeps count"):
        train(counting, loss, len(X), replace(HOW, grad_accumulation=2), RUN)


def test_one_cycle_is_that_of_torch() -> None:
    config = TrainerConfig(steps=37, lr=0.3, decay="onecycle")
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=1.0)
    course = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=37)
    for step in range(37):
        group = optimizer.param_groups[0]
        assert learning_rate(config, step) == pytest.approx(group["lr"], rel=1e-12)
        assert first_beta(config, step, 0.9) == pytest.approx(group["betas"][0], rel=1e-12)
        optimizer.step()
        if step < 36:
            course.step()
    assert learning_rate(config, 10, peak=0.6) == pytest.approx(2 * learning_rate(config, 10))
    assert first_beta(replace(config, decay="none"), 3, 0.9) == 0.9
    with pytest.raises(UserError, match="leave warmup 0"):
        replace(config, warmup=3)


def logged(folder: Path) -> list[dict[str, Any]]:
    return read(folder / "log.jsonl")


def test_held_out_items_are_never_trained_on_and_their_loss_is_logged(tmp_path: Path) -> None:
    seen: dict[bool, set[int]] = {True: set(), False: set()}

    def spied(network: nn.Module, rows: Tensor, step: int) -> Tensor:
        seen[network.training] |= set(rows.tolist())
        return loss(network, rows, step)

    how = replace(HOW, steps=30, held_out=0.25, evaluate_every=10)
    network = train(fresh(), spied, len(X), how, replace(RUN, checkpoint_dir=tmp_path))
    assert len(seen[False]) == 10
    assert seen[True] == set(range(40)) - seen[False]
    lines = logged(tmp_path)
    found = {line["step"]: line["held_out"] for line in lines if "held_out" in line}
    assert list(found) == [10, 20, 30]
    rows = torch.tensor(sorted(seen[False]))
    exact = float((network(X[rows]) - Y[rows]).square().mean())
    assert found[30] == pytest.approx(exact, rel=0.5)  # but for the noise of the loss
    whole = train(fresh(), loss, len(X), replace(how, held_out=10), RUN)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), whole.parameters(), strict=True))


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_evaluating_changes_no_weight(ema: float) -> None:
    how = replace(HOW, held_out=0.25, ema=ema)
    often = train(fresh(), loss, len(X), replace(how, evaluate_every=1), RUN)
    never = train(fresh(), loss, len(X), replace(how, evaluate_every=100), RUN)
    assert all(torch.equal(a, b) for a, b in zip(often.parameters(), never.parameters(), strict=True))


def test_the_best_weights_are_kept(tmp_path: Path) -> None:
    """After step 6 the loss drives the weights away: those of the lowest held-out loss come back."""

    def spoiled(network: nn.Module, rows: Tensor, step: int) -> Tensor:
        return loss(network, rows, step) * (-1 if network.training and step >= 6 else 1)

    how = replace(HOW, ema=0.0, held_out=0.25, evaluate_every=3)
    last = train(fresh(), spoiled, len(X), how, RUN)
    best = train(
        fresh(), spoiled, len(X), replace(how, keep_best=True), replace(RUN, checkpoint_dir=tmp_path)
    )
    found = {line["step"]: line["held_out"] for line in logged(tmp_path) if "held_out" in line}
    least = min(found, key=lambda step: found[step])
    assert least < 12
    early = train(fresh(), spoiled, len(X), replace(how, steps=least), RUN)
    pairs = list(zip(best.parameters(), early.parameters(), last.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not all(torch.equal(a, c) for a, _, c in pairs)


@pytest.mark.parametrize("at", [2, 7, 11])
def test_an_interrupted_training_knows_its_best(tmp_path: Path, at: int) -> None:
    how = replace(HOW, held_out=0.25, evaluate_every=3, keep_best=True)
    whole = train(fresh(), loss, len(X), how, RUN).state_dict()

    def dies(network: nn.Module, rows: Tensor, step: int) -> Tensor:
        if step == at:
            raise Killed
        return loss(network, rows, step)

    with pytest.raises(Killed):
        train(fresh(), dies, len(X), how, replace(RUN, checkpoint_dir=tmp_path))
    resumed = train(fresh(), loss, len(X), how, replace(RUN, checkpoint_dir=tmp_path)).state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_what_cannot_be_held_out_is_refused() -> None:
    with pytest.raises(UserError, match="give held_out"):
        replace(HOW, keep_best=True)
    with pytest.raises(UserError, match="leave some on both sides"):
        train(fresh(), loss, len(X), replace(HOW, held_out=40), RUN)
    with pytest.raises(UserError, match="drawn anew"):
        train(fresh(), loss, 0, replace(HOW, held_out=0.5), RUN)


def test_the_average_has_the_statistics_of_batch_norm() -> None:
    counting = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    plain = copy.deepcopy(counting)
    average = train(counting, loss, len(X), HOW, RUN)
    trained = train(plain, loss, len(X), replace(HOW, ema=0.0), RUN)
    assert int(average[1].num_batches_tracked) == HOW.steps  # pyright: ignore
    for (name, a), (_, b) in zip(average.named_buffers(), trained.named_buffers(), strict=True):
        assert torch.equal(a, b), name
    assert not torch.equal(average[0].weight, trained[0].weight)  # pyright: ignore


class Game(nn.Module):
    """A generator of one number, and a critic that tells its numbers from those around 2."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.generator = nn.Linear(1, 1)
        self.critic = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))

    def made(self, number: int) -> Tensor:
        return self.generator(torch.randn(64, 1))


def fools(network: Any, rows: Tensor, step: int) -> Tensor:
    assert not any(p.requires_grad for p in network.critic.parameters())
    return F.softplus(-network.critic(network.made(step))).mean()


def tells(network: Any, rows: Tensor, step: int) -> Tensor:
    made, real = network.made(step).detach(), 2 + 0.5 * torch.randn(64, 1)
    return (F.softplus(network.critic(made)) + F.softplus(-network.critic(real))).mean()


GAME = TrainerConfig(steps=400, batch_size=1, lr=1e-2, betas=(0.5, 0.9), checkpoint_every=0, log_every=100)


def test_two_optimisers_play_against_each_other(tmp_path: Path) -> None:
    run = replace(RUN, checkpoint_dir=tmp_path)
    network: Any = train(Game(), fools, 0, GAME, run, adversary=Adversary("critic", tells, lr=1e-2))
    made = network.generator(torch.randn(2000, 1, generator=torch.Generator().manual_seed(0)))
    assert abs(float(made.mean()) - 2) < 0.5
    assert {"loss", "adversary_loss"} <= logged(tmp_path)[-1].keys()


def test_an_adversary_starts_when_it_is_told_and_resumes_bit_identically(tmp_path: Path) -> None:
    how, critic = replace(GAME, steps=10, ema=0.9), Adversary("critic", tells, start=4)
    before = Game().critic.state_dict()
    early: Any = train(Game(), fools, 0, replace(how, steps=4, ema=0.0), RUN, adversary=critic)
    assert all(torch.equal(before[k], v) for k, v in early.critic.state_dict().items())
    whole = train(Game(), fools, 0, how, RUN, adversary=critic).state_dict()
    assert not all(torch.equal(before[k], whole[f"critic.{k}"]) for k in before)

    def dies(network: nn.Module, rows: Tensor, step: int) -> Tensor:
        if step == 7:
            raise Killed
        return fools(network, rows, step)

    with pytest.raises(Killed):
        train(Game(), dies, 0, how, replace(RUN, checkpoint_dir=tmp_path), adversary=critic)
    resumed = train(
        Game(), fools, 0, how, replace(RUN, checkpoint_dir=tmp_path), adversary=critic
    ).state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def unet() -> UNet:
    torch.manual_seed(0)
    return UNet(UNetConfig(1, 32, 1, 1, (2,), 0.2, (1, 2)))


def painted(network: nn.Module, rows: Tensor, step: int) -> Tensor:
    x = torch.randn(2, 1, 8, 8)
    return (network(x, torch.tensor([3, 7])) - x).square().mean()


def test_gradient_checkpointing_computes_again_and_changes_no_weight() -> None:
    how = replace(HOW, steps=3, ema=0.0)
    calls = {}
    found = {}
    for again in (False, True):
        network, calls[again] = unet(), []
        for block in (network.input_blocks[1], network.output_blocks[0]):
            block.register_forward_pre_hook(lambda *_, again=again: calls[again].append("called"))
            block[0].register_forward_pre_hook(lambda *_, again=again: calls[again].append("computed"))
        found[again] = train(
            network, painted, 0, replace(how, gradient_checkpointing=again), RUN
        ).state_dict()
    assert all(torch.equal(value, found[True][name]) for name, value in found[False].items())
    assert calls[True].count("computed") == 2 * calls[False].count("computed") > 0
    assert calls[True].count("called") == calls[False].count("called")
    assert len(list(blocks(unet()))) == len(unet().input_blocks) + len(unet().output_blocks)
    network = unet()
    with recomputed(network):
        pass
    assert "forward" not in network.input_blocks[0].__dict__


def test_blocks_are_found_at_any_depth() -> None:
    inner = nn.ModuleList([nn.Linear(1, 1), nn.ModuleList([nn.Tanh(), nn.ReLU()])])
    outer = nn.ModuleDict({"network": nn.Sequential(nn.Linear(1, 1), inner)})
    assert [type(b) for b in blocks(outer)] == [nn.Linear, nn.Tanh, nn.ReLU]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_training_takes_the_same_course() -> None:
    plain = train(fresh(), loss, len(X), replace(HOW, steps=3), RUN)
    fast = train(fresh(), loss, len(X), replace(HOW, steps=3, compile=True), RUN)
    for a, b in zip(plain.parameters(), fast.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-3)
    assert fast.state_dict().keys() == plain.state_dict().keys()


def test_half_precision_is_the_networks_alone() -> None:
    kinds = set()

    def spied(network: Any, rows: Tensor, step: int) -> Tensor:
        kinds.add(network[0](X[rows]).dtype)
        return loss(network, rows, step)

    found = train(fresh(), spied, len(X), replace(HOW, precision="bf16"), RUN)
    assert kinds == {torch.bfloat16}
    assert {p.dtype for p in found.parameters()} == {torch.float32}


def test_nobody_writes_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to"):
        train(fresh(), loss, len(X), HOW, replace(RUN, checkpoint_dir=tmp_path / "file" / "kept"))
