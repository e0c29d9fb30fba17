"""Predictor and corrector on an exploding chain against arrays of Score-MRI's code (Chung & Ye 2022).

Network, loss, tables and single moves; and Alg. 2, 4 and 5 as published. `ScoreMRI` does otherwise there (see
its docstring), so parts are put together as the reference does. Alg. 3 is tested in the room of the method.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from headwater.core import (
    Ancestral,
    Control,
    Denoiser,
    Diffusion,
    Langevin,
    PredictorCorrector,
    descend,
    reverse,
)
from headwater.core.schedule import geometric
from headwater.nets.wrappers import RealAndImaginary
from headwater.operators import Coils, Fourier, Operator, Sampled
from headwater.operators.calibration import sum_of_squares
from score_sde import HIGH, LOW, Recorded, sigma

OUT = pytest.mark.parametrize("out", ["out", "out64"])


def process(n: int, eps: float = 1e-5) -> Diffusion:
    """Timestep i + 1 has the reference's i-th sigma, and as label sigma at the time of that step there."""
    times = torch.linspace(1, eps, n, dtype=torch.float64).flip(0)
    return Diffusion.ve(geometric(n, LOW, HIGH), sigma(times))


@OUT
@pytest.mark.parametrize("name", ["single_coil", "multi_coil"])
def test_network_loss_and_single_moves(golden: Any, out: str, name: str) -> None:
    run = Recorded(golden(f"score-mri/{name}"), out)
    net, n = run.network(), run.ref.config["N"]
    q = run.process()
    tight = 1e-10 if run.double else 1e-5
    with torch.no_grad():
        run.close(net(run["in/x"], run["in/labels"]), "forward_label", tight)
        run.close(net(run["in/x"], sigma(run["in/t"].double()).to(run.real)), "score", tight)
        run.close(process(n).sigma[1:], "discrete_sigmas", 1e-6)
        run.close(sigma(run["in/t"].double()), "marginal_std", 1e-6)

        # The loss, at times of its own: a process of as many levels as there are samples.
        tape = run.tape(0)
        for kind in ("loss", "loss_mean_likelihood"):
            t, z = next(tape).double() * (1 - 1e-5) + 1e-5, next(tape)
            std = sigma(t)
            order = std.argsort()
            level = torch.empty_like(order)
            level[order] = torch.arange(1, len(t) + 1)
            denoiser = Denoiser(net, Diffusion.ve(std[order]), "score")
            x0 = run["in/images"]
            per_sample = denoiser.loss(x0, level, z.to(run.real))  # the mean over pixels of (s + z / sigma)^2
            if kind == "loss":
                value = 0.5 * (std**2 * per_sample).mean() * x0[0].numel()
            else:  # weighted by g(t)^2 and averaged over pixels, without the half of the other
                g2 = std**2 * 2 * torch.tensor(HIGH / LOW, dtype=torch.float64).log()
                value = (per_sample * g2).mean()
            run.close(value.to(run.real), kind, max(tight, 1e-6))

        # At t = 0.5 the reference's index is floor(t (N - 1)), and the label sigma(t).
        index = int(0.5 * (n - 1))
        half = Diffusion.ve(q.sigma[1:], sigma(torch.full((n,), 0.5, dtype=torch.float64)))
        denoiser, x = Denoiser(net, half, "score"), run["in/images"][:1]
        step, _ = Ancestral("large").step(half, denoiser(x, index + 1), index)
        run.close(step.mean, "predictor_mean")
        run.close(step.sample(lambda like, level: next(tape)), "predictor_x")
        for _ in range(2):
            move, _ = Langevin(run.ref.config["snr"]).step(half, denoiser(x, index + 1), index + 1)
            x = move.sample(lambda like, level: next(tape))
        run.close(x, "corrector_x")


class RealPart(Control):
    """Data consistency of the reference's Alg. 2: the real part of one hard replacement."""

    def __init__(self, operator: Operator, y: Tensor) -> None:
        self.operator, self.y = operator, y

    def after(self, x: Tensor, s: int, step: int) -> Tensor:
        return self.operator.project(x + 0j, self.y).real


class NoisyEnd(Ancestral):
    """The reference adds noise in the step into level 0 too, and in Alg. 2 keeps it."""

    def step(self, q: Any, pred: Any, s: int, state: Any = None) -> Any:
        dist, _ = super().step(q, pred, s, state)
        return replace(dist, std=q.between(s, pred.t)[1]), None


@OUT
def test_real_images_alg_2(golden: Any, out: str) -> None:
    run = Recorded(golden("score-mri/single_coil"), out)
    q = run.process()
    a = Sampled(Fourier("shifted"), run["in/mask"] > 0.5)
    y = a.forward(run["in/images"][:1] + 0j)
    run.close(y, "real_kspace", 1e-6)
    tape = run.tape(7)
    start = a.project(HIGH * next(tape) + 0j, y).real
    sampler = PredictorCorrector(NoisyEnd("large"), Langevin(run.ref.config["snr"], "batch"))
    denoiser = Denoiser(run.network(), q, "score")
    loop = reverse(denoiser, start, descend(q.T), sampler, [RealPart(a, y)], lambda like, level: next(tape))
    with torch.no_grad():
        ends = [step.x for step in loop if step.s < step.t]
    run.close(torch.stack(ends), "real_x")
    # The reference makes its "denoised" image out of the noisy one, by replacing the data once more.
    again = [RealPart(a, y).after(x, 0, 0) for x in ends]
    run.close(torch.stack(again), "real_x_mean")
    run.close(again[-1], "real_result")


@OUT
@pytest.mark.parametrize("kind", ["ssos", "hybrid"])
def test_coils_alg_4_and_the_published_alg_5(golden: Any, out: str, kind: str) -> None:
    """Parity of components: the reference predicts, then corrects at the level it has just left, and its
    hybrid step feeds coil images through the maps again and adds one image to all coils."""
    run = Recorded(golden("score-mri/multi_coil"), out)
    n, config = run.ref.config["N"], run.ref.config
    q = run.process()
    mask, sens = run["in/mask"] > 0.5, run["in/sens"]
    a = Sampled(Fourier("centred"), mask)
    y = a.forward(sens * run["in/images"][:1] * torch.exp(1j * run["in/phase"]))
    run.close(y, "coil_kspace", 1e-5)
    tape = run.tape(7)
    if kind == "hybrid":  # after the draws of the first sampler: 2, then 4 for each step and coil
        for _ in range(2 + 4 * n * sens.shape[1]):
            next(tape)
    x = HIGH * torch.complex(next(tape), next(tape))
    denoiser = Denoiser(RealAndImaginary(run.network()), q, "score")
    predictor, corrector = NoisyEnd("large"), Langevin(config["snr"], "part")
    maps = Coils(a, sens)

    def noise(like: Tensor, level: Any) -> Tensor:
        return torch.complex(next(tape), next(tape))

    with torch.no_grad():
        for i in range(n):
            t, coils, means = n - i, [], []
            for c in range(sens.shape[1]):
                one, data = x[:, c : c + 1], y[:, c : c + 1]
                step, _ = predictor.step(q, denoiser(one, t), t - 1)
                one = a.project(step.sample(noise), data)
                pred, z = denoiser(one, t), noise(one, t)
                move, _ = corrector.step(q, pred, t)
                moved = move.sample(lambda like, level, z=z: z)
                coils.append(a.project(moved, data))
                means.append(a.project(moved - _noise_of(pred.score, z, config["snr"]), data))
            x, mean = torch.cat(coils, 1), torch.cat(means, 1)
            if kind == "hybrid" and i % config["m_steps"] == 0:
                first, last = config["lamb"]
                weight = first + (last - first) * i / 2000
                x, mean = (v + weight * maps.adjoint(y - maps.forward(v)) for v in (x, mean))
            if i == 0:
                run.close(x, f"{kind}_x_step0")
                run.close(mean, f"{kind}_x_mean_step0")
    run.close(mean, f"{kind}_coils")
    run.close(sum_of_squares(mean)[:, 0], f"{kind}_image")


def _noise_of(score: Tensor, z: Tensor, snr: float) -> Tensor:
    """The random part of a Langevin move, sqrt(2 a) z, of each part of a single complex image."""
    parts = [2 * snr * b.norm() / s.norm() * b for s, b in ((score.real, z.real), (score.imag, z.imag))]
    return torch.complex(*parts)


def test_kaczmarz_weights(golden: Any) -> None:
    ref = golden("score-mri/multi_coil")
    (first, last), wanted = ref.config["lamb"], ref["out/lambda_linear"]
    steps = torch.tensor([0, 50, 100, 499, 1999])
    torch.testing.assert_close(first + (last - first) * steps.double() / 2000, wanted)


def test_transforms_and_tables(golden: Any) -> None:
    ref = golden("score-mri/masks_and_tables")
    x = ref["in/complex"]
    for way, name in (("shifted", "fft2"), ("centred", "fft2_m")):
        a = Fourier(way)
        torch.testing.assert_close(a.forward(x), ref[f"out/{name}"], rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(a.pseudo_inverse(x), ref[f"out/i{name}"], rtol=1e-5, atol=1e-6)
    for n in ref.config["sde_N"]:
        q = process(n)
        torch.testing.assert_close(q.sigma[1:].float(), ref[f"out/sigmas_{n}"], rtol=2e-5, atol=0)
        torch.testing.assert_close(q.label[1:].flip(0).float(), ref[f"out/std_{n}"], rtol=2e-5, atol=0)
        G = torch.tensor([q.between(t - 1, t)[1] for t in range(n, 0, -1)])
        torch.testing.assert_close(G.float(), ref[f"out/G_{n}"], rtol=2e-3, atol=0)
    magnitude, angle = x.abs(), x.angle()
    magnitude, angle = ((v - v.min()) / (v.max() - v.min()) for v in (magnitude, angle))
    torch.testing.assert_close(torch.polar(magnitude, angle), ref["out/normalize_complex"])
