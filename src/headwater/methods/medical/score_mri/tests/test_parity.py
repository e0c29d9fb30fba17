"""Score-MRI against the arrays of its reference code: networks, tables, loss, masks and all four samplers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from headwater.controls import Consistent
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
from headwater.methods.medical.score_mri.acquisition import calibration_block, mark
from headwater.methods.medical.score_mri.scan import sum_of_squares
from headwater.nets.ncsnpp import NCSNpp, NCSNppConfig
from headwater.nets.wrappers import RealAndImaginary
from headwater.operators import Coils, Fourier, Operator, Sampled

LOW, HIGH = 0.01, 378.0


def sigma(t: Tensor) -> Tensor:
    return LOW * (HIGH / LOW) ** t


def process(n: int, eps: float = 1e-5) -> Diffusion:
    """Level i + 1 has the reference's i-th sigma; it is told sigma at the reference's time of that step."""
    times = torch.linspace(1, eps, n, dtype=torch.float64).flip(0)
    return Diffusion.ve(geometric(n, LOW, HIGH), sigma(times))


def network(ref: Any, dtype: torch.dtype) -> NCSNpp:
    m = ref.config["model"]
    sizes = m["nf"], tuple(m["ch_mult"]), m["num_res_blocks"], tuple(m["attn_resolutions"])
    net = NCSNpp(NCSNppConfig(ref.config["image_size"], 1, *sizes))
    net.load_state_dict(ref.under("w"), strict=True)
    return net.eval().to(dtype)


@dataclass
class Run:
    """One golden file in one precision."""

    ref: Any
    out: str
    real: torch.dtype
    complex: torch.dtype
    rtol: float

    def __getitem__(self, name: str) -> Tensor:
        value = self.ref[name]
        return value.to(self.complex if value.is_complex() else self.real)

    def close(self, ours: Tensor, name: str, rtol: float | None = None) -> None:
        wanted = self.ref[f"{self.out}/{name}"]
        limit = (self.rtol if rtol is None else rtol) * float(wanted.abs().max())
        assert ours.shape == wanted.shape
        assert float((ours - wanted).abs().max()) <= limit

    def tape(self, first: int) -> Iterator[Tensor]:
        draws = self.ref.under("noise")
        return iter([draws[k].to(self.real) for k in sorted(draws)][first:])


def paired(tape: Iterator[Tensor]) -> Any:
    """Complex noise: two draws of the tape each time."""
    return lambda like, level: torch.complex(next(tape), next(tape))


def table(run: Run) -> Diffusion:
    """The same from the arrays: the reference computes its tables in float32 whatever the precision."""
    sigmas, times = run.ref[f"{run.out}/discrete_sigmas"], run.ref[f"{run.out}/timesteps"]
    return Diffusion.ve(sigmas.double(), sigma(times.double().flip(0)))


@pytest.fixture(params=["out", "out64"])
def runs(golden: Any, request: pytest.FixtureRequest) -> Any:
    double = request.param == "out64"
    real, complex_ = (torch.float64, torch.complex128) if double else (torch.float32, torch.complex64)

    def read(name: str) -> Run:
        ref = golden(f"score-mri/{name}")
        return Run(ref, request.param, real, complex_, 1e-10 if double else 1e-4)

    return read


@pytest.mark.parametrize("name", ["single_coil", "multi_coil"])
def test_network_loss_and_single_moves(runs: Any, name: str) -> None:
    run = runs(name)
    net, n = network(run.ref, run.real), run.ref.config["N"]
    q = table(run)
    tight = 1e-10 if run.real == torch.float64 else 1e-5
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
            told = Denoiser(net, Diffusion.ve(std[order]), "score")
            x0 = run["in/images"]
            per_sample = told.loss(x0, level, z.to(run.real))  # the mean over pixels of (s + z / sigma)^2
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


def test_real_images_alg_2(runs: Any) -> None:
    run = runs("single_coil")
    q = table(run)
    a = Sampled(Fourier("shifted"), run["in/mask"] > 0.5)
    y = a.forward(run["in/images"][:1] + 0j)
    run.close(y, "real_kspace", 1e-6)
    tape = run.tape(7)
    start = a.project(HIGH * next(tape) + 0j, y).real
    sampler = PredictorCorrector(NoisyEnd("large"), Langevin(run.ref.config["snr"], "batch"))
    denoiser = Denoiser(network(run.ref, run.real), q, "score")
    walk = reverse(denoiser, start, descend(q.T), sampler, [RealPart(a, y)], lambda like, level: next(tape))
    with torch.no_grad():
        ends = [step.x for step in walk if step.s < step.t]
    run.close(torch.stack(ends), "real_x")
    # The reference makes its "denoised" image out of the noisy one, by replacing the data once more.
    again = [RealPart(a, y).after(x, 0, 0) for x in ends]
    run.close(torch.stack(again), "real_x_mean")
    run.close(again[-1], "real_result")


def test_complex_images_alg_3(runs: Any) -> None:
    run = runs("single_coil")
    q = table(run)
    a = Sampled(Fourier("shifted"), run["in/mask"] > 0.5)
    y = a.forward(run["in/images"][:1] * torch.exp(1j * run["in/phase"]))
    run.close(y, "complex_kspace", 1e-5)
    tape = run.tape(28)
    start = a.project(HIGH * next(tape) + 0j, y)
    noise = paired(tape)
    sampler = PredictorCorrector(Ancestral("large"), Langevin(run.ref.config["snr"], "part"))
    denoiser = Denoiser(RealAndImaginary(network(run.ref, run.real)), q, "score")
    with torch.no_grad():
        steps = list(reverse(denoiser, start, descend(q.T), sampler, [Consistent(a, y)], noise))
    down = [step for step in steps if step.s < step.t]
    wanted = run.ref[f"{run.out}/complex_x"]
    limit = run.rtol * float(wanted.abs().max())
    ends = torch.stack([step.x for step in down])
    assert float((ends[:-1] - wanted[:-1]).abs().max()) <= limit
    quiet = [a.project(sampler.predictor.step(q, step.pred, step.s)[0].mean, y) for step in down if step.pred]
    run.close(torch.stack(quiet), "complex_x_mean")
    run.close(ends[-1], "complex_result")  # our last step adds no noise, as the reference's x_mean


@pytest.mark.parametrize("kind", ["ssos", "hybrid"])
def test_coils_alg_4_and_the_published_alg_5(runs: Any, kind: str) -> None:
    """Parity of components: the reference predicts, then corrects at the level it has just left, and its
    hybrid step feeds coil images through the maps again and adds one image to all coils."""
    run = runs("multi_coil")
    n, config = run.ref.config["N"], run.ref.config
    q = table(run)
    mask, sens = run["in/mask"] > 0.5, run["in/sens"]
    a = Sampled(Fourier("centred"), mask)
    y = a.forward(sens * run["in/images"][:1] * torch.exp(1j * run["in/phase"]))
    run.close(y, "coil_kspace", 1e-5)
    tape = run.tape(7)
    if kind == "hybrid":  # after the draws of the first sampler: 2, then 4 for each step and coil
        for _ in range(2 + 4 * n * sens.shape[1]):
            next(tape)
    x = HIGH * torch.complex(next(tape), next(tape))
    denoiser = Denoiser(RealAndImaginary(network(run.ref, run.real)), q, "score")
    predictor, corrector = NoisyEnd("large"), Langevin(config["snr"], "part")
    maps = Coils(a, sens)
    noise = paired(tape)
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


def test_masks_of_the_reference_from_its_own_draws(golden: Any) -> None:
    ref = golden("score-mri/masks_and_tables")
    tape = list(ref.under("noise").values())
    for name, mask in ref.config["masks"].items():
        size, wanted = mask["size"], ref[f"out/mask_{name}"] > 0.5
        lines = mask["type"].endswith("1d")
        centre = calibration_block(size, size, mask["cf"] if lines else 0.0, lines)
        draws = [tape.pop(0)] * 2 if mask["fix"] else [tape.pop(0), tape.pop(0)]
        for draw, one in zip(draws, wanted[:, 0], strict=True):
            if mask["type"] == "gaussian1d":
                at = (size // 2 + size * 15 / 128 * draw.double(),)
            elif mask["type"] == "gaussian2d":
                at = tuple((size // 2 + (size * size * 1.5 / 128) ** 0.5 * draw.double()).T)
            elif mask["type"] == "uniform1d":
                at = (draw,)
            else:
                at = draw // size, draw % size
            assert torch.equal(mark(centre, *at), one), name


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
