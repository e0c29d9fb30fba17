"""Attacks where the best attack is known: linear classifiers; and against a library, where it is there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from headwater.attacks import APGD, PGD, Restarts, Square, Threat
from headwater.attacks.ascent import checkpoints
from headwater.attacks.gradient import Objective, losses

THREATS = [Threat("linf", 0.1), Threat("l2", 0.5)]


class Linear(nn.Module):
    """Two logits +-w.x; with `noise`, w is drawn anew for each seed around the same mean."""

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(0)))
        self.noise = noise

    def forward(self, x: Tensor) -> Tensor:
        return self.seeded(x, [0] * len(x))

    def seeded(self, x: Tensor, seeds: Sequence[int]) -> Tensor:
        drawn = [torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(s % 2**62)) for s in seeds]
        total = (x * (self.weight + self.noise * torch.stack(drawn))).flatten(1).sum(1)
        return torch.stack([total, -total], 1)


def optimum(weight: Tensor, threat: Threat, x: Tensor) -> Tensor:
    """The picture of the ball with the smallest w.x; x is far enough from 0 and 1 that the box is idle."""
    return x - threat.eps * threat.ascend(weight.expand_as(x))


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("attack", [PGD(20, size=0.5), APGD(30)], ids=["pgd", "apgd"])
def test_the_best_attack_on_a_linear_classifier_is_found(attack: PGD | APGD, threat: Threat) -> None:
    model, x = Linear(), torch.full((3, 1, 4, 4), 0.5)
    y = torch.zeros(3, dtype=torch.int64)
    best = optimum(model.weight.detach(), threat, x)
    found = attack.perturb(model, threat, x, y, [1, 2, 3])[-1]
    with torch.no_grad():
        before, reached, wanted = (model(v)[:, 0] for v in (x, found, best))
    assert float((before - reached).min()) >= 0.999 * float(before[0] - wanted[0])
    assert float(threat.size(found - x).max()) <= threat.eps * (1 + 1e-5)


def test_averaging_over_draws_finds_the_mean_gradient() -> None:
    # Dim, so that the loss is nearly linear and its gradient's mean is that of the weights.
    model, x = Linear(noise=3.0), torch.full((1, 1, 4, 4), 0.01)
    y = torch.zeros(1, dtype=torch.int64)

    def cosine(draws: int) -> float:
        _, gradient = Objective(model.seeded, y, [5], "ce", draws)(x, 0)
        wanted = model.weight.detach().flatten()
        return float(torch.cosine_similarity(-gradient.flatten(), wanted, dim=0))

    assert cosine(1) < 0.8
    assert cosine(2000) > 0.95


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_projection_is_onto_ball_and_box(threat: Threat) -> None:
    generator = torch.Generator().manual_seed(0)
    x, far = torch.rand(64, 1, 4, 4, generator=generator), torch.randn(64, 1, 4, 4, generator=generator)
    found = threat.project(x + far, x)
    assert float(threat.size(found - x).max()) <= threat.eps * (1 + 1e-5)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    torch.testing.assert_close(threat.project(found, x), found)
    start = threat.start(x, range(64))
    assert float(threat.size(start - x).max()) <= threat.eps * (1 + 1e-5)
    assert torch.equal(start[5:6], threat.start(x[5:6], [5]))


def test_dlr_is_the_papers() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0, -1.0], [3.0, 1.0, 0.0, -1.0]])
    found = losses(logits, torch.tensor([0, 2]), "dlr")
    torch.testing.assert_close(found, torch.tensor([-(3 - 1) / (3 - 0), -(0 - 3) / (3 - 0)]))


def test_checkpoints_are_the_papers() -> None:
    # p = 0, 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99
    assert checkpoints(100) == [0, 22, 41, 57, 70, 80, 87, 93, 99]


def bent(seed: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network with curved boundaries, and pictures that it gets right."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(36, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, 5)
    )
    for layer in net:
        if isinstance(layer, nn.Linear):
            layer.weight.data *= 2.5
    x = torch.rand(100, 1, 6, 6)
    return net.requires_grad_(False), x, net(x).argmax(1)


@pytest.mark.parametrize("threat", [Threat("linf", 0.03), Threat("l2", 0.15)], ids=str)
def test_apgd_is_as_strong_as_the_library_s(threat: Threat) -> None:
    pytest.importorskip("art", reason="adversarial-robustness-toolbox is an oracle, not a dependency")
    from art.attacks.evasion import AutoProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    net, x, y = bent(0)
    wrapped = PyTorchClassifier(net, nn.CrossEntropyLoss(), (1, 6, 6), 5, clip_values=(0.0, 1.0))
    np.random.seed(0)
    theirs = AutoProjectedGradientDescent(
        wrapped,
        norm=np.inf if threat.norm == "linf" else 2,
        eps=threat.eps,
        eps_step=2 * threat.eps,
        max_iter=50,
        nb_random_init=1,
        batch_size=100,
        loss_type=None,
        verbose=False,
    ).generate(x.numpy(), y.numpy())
    ours = APGD(50).perturb(net, threat, x, y, range(100))[-1]
    loss = [nn.functional.cross_entropy(net(v), y) for v in (ours, torch.from_numpy(theirs))]
    broken = [float((net(v).argmax(1) != y).float().mean()) for v in (ours, torch.from_numpy(theirs))]
    print(threat, loss, broken)
    assert 0.1 < broken[1] < 0.9
    assert broken[0] >= broken[1] - 0.02
    assert float(loss[0]) >= 0.98 * float(loss[1])


def test_apgd_beats_pgd_of_the_same_length_on_a_bent_network() -> None:
    net, x, y = bent(1)
    threat = Threat("linf", 0.03)
    loss = {
        name: float(nn.functional.cross_entropy(net(attack.perturb(net, threat, x, y, range(100))[-1]), y))
        for name, attack in (("pgd", PGD(30)), ("apgd", APGD(30)), ("blind", PGD(1)))
    }
    assert loss["apgd"] >= 0.99 * loss["pgd"] > loss["blind"]


def test_square_comes_near_what_gradients_find() -> None:
    """A linear classifier: the best square search can do is the corner of the ball, which PGD finds."""
    model, threat = Linear(), Threat("linf", 0.1)
    x, y = torch.full((3, 1, 4, 4), 0.5), torch.zeros(3, dtype=torch.int64)
    (found,) = Square(400).perturb(model, threat, x, y, [1, 2, 3])
    with torch.no_grad():
        before, reached, wanted = (
            model(v)[:, 0] for v in (x, found, optimum(model.weight.detach(), threat, x))
        )
    assert float((before - reached).min()) >= 0.95 * float(before[0] - wanted[0])
    assert float(threat.size(found - x).max()) <= threat.eps * (1 + 1e-5)
    (alone,) = Square(400).perturb(model, threat, x[1:2], y[1:2], [2])
    assert torch.equal(alone, found[1:2])


def test_aiming_and_restarts_break_what_one_start_leaves() -> None:
    net, x, y = bent(1)
    threat = Threat("linf", 0.02)

    def left(attack: APGD | PGD | Restarts) -> float:
        held = torch.ones(100, dtype=torch.bool)
        for candidate in attack.perturb(net, threat, x, y, range(100)):
            held &= net(candidate).argmax(1) == y
        return float(held.double().mean())

    few = PGD(1, size=0.002)  # hardly moves from where it begins
    assert left(Restarts(few, 8)) < left(few)
    # Each class aimed at is reached more often than by going away from the true one.
    aimed = APGD(20, loss="ce", targets=4)
    candidates = aimed.perturb(net, threat, x, y, range(100))
    assert len(candidates) == 8
    assert left(aimed) <= left(APGD(20))
    others = net(x).scatter(1, y[:, None], -torch.inf).argsort(1, descending=True)
    away = APGD(20).perturb(net, threat, x, y, range(100))[-1]
    for k in (1, 3):
        reached = (net(candidates[2 * k + 1]).argmax(1) == others[:, k]).sum()
        assert reached >= (net(away).argmax(1) == others[:, k]).sum()


def test_dlr_that_aims_is_the_papers() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0, -1.0]])
    found = losses(logits, torch.tensor([0]), "dlr", torch.tensor([2]))
    torch.testing.assert_close(found, torch.tensor([-(3.0 - 0.0) / (3.0 - (0.0 - 1.0) / 2)]))


def test_draws_in_parts_give_the_same_gradient() -> None:
    model, x = Linear(noise=3.0), torch.full((2, 1, 4, 4), 0.01)
    y = torch.zeros(2, dtype=torch.int64)
    whole, parts = (Objective(model.seeded, y, [5, 6], "ce", 7, part=p)(x, 0) for p in (0, 3))
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b)
