"""TimeGrad against the arrays of its reference code: same weights, same draws, same losses and samples."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from arrays import Golden, close
from closed_form import Tape
from headwater.core import Denoiser, Diffusion, descend, reverse
from headwater.core.prediction import labels
from headwater.core.schedule import betas, reciprocal
from headwater.methods.series.timegrad.method import masked_error
from headwater.methods.series.timegrad.network import EpsilonTheta, TimeGradSizes, step_table
from headwater.methods.series.timegrad.rows import Batch, mean_scale


class Reference:
    """One of the files in one precision (`out` or `out64`), with our network at its weights."""

    def __init__(self, arrays: Golden, out: str) -> None:
        self.arrays, self.out = arrays, out
        self.dtype, self.limit = (torch.float32, 1e-5) if out == "out" else (torch.float64, 1e-5)
        net, self.T = arrays.config["net"], arrays.config["steps"]
        names = {
            "target_dim": "columns", "cond_length": "condition", "residual_layers": "layers",
            "residual_channels": "channels", "time_emb_dim": "step_dim", "residual_hidden": "hidden",
            "dilation_cycle_length": "cycle",
        }  # fmt: skip
        sizes = TimeGradSizes(lags=1, **{names[k]: v for k, v in net.items()})
        self.network = EpsilonTheta(sizes)
        self.network.load_state_dict(arrays.under("w"), strict=True)
        self.network.to(self.dtype)
        self.q = Diffusion.vp(self.betas(arrays.config["schedules"][0]))

    def betas(self, name: str) -> Tensor:
        end = self.arrays.config["beta_end"]
        if name in ("const", "jsd"):
            flat = torch.full((self.T,), end, dtype=torch.float64)
            return flat if name == "const" else reciprocal(self.T)
        ends = {} if name == "cosine" else {"start": 1e-4, "end": end}
        return betas({"quad": "quadratic"}.get(name, name), self.T, **ends)

    def denoiser(self, error: Any = "l2") -> Denoiser:
        return Denoiser(self.network, self.q, "eps", error=error)

    def given(self, name: str) -> Tensor:
        value = self.arrays[name]
        return value.to(self.dtype) if value.is_floating_point() else value

    def close(self, found: Tensor, name: str, scale: float = 1.0) -> None:
        close(found, self.arrays[f"{self.out}/{name}"], atol=scale * self.limit, share=scale * self.limit)


@pytest.fixture(params=[(n, out) for n in ("tiny", "tiny_quad") for out in ("out", "out64")], ids="-".join)
def ref(request: pytest.FixtureRequest, golden: Any) -> Reference:
    name, out = request.param
    return Reference(golden(f"timegrad/{name}"), out)


def test_the_network(ref: Reference) -> None:
    with torch.no_grad():
        found = ref.network(ref.given("in/x"), ref.given("in/t"), ref.given("in/cond"))
        ref.close(found, "eps")
        ref.close(ref.network.cond_upsampler(ref.given("in/cond")), "cond_up")
    if ref.out == "out":
        steps = torch.arange(500, dtype=ref.dtype)
        ref.close(
            step_table(steps, ref.arrays["out/diffusion_embedding_table"].shape[1] // 2),
            "diffusion_embedding_table",
        )


def test_every_table_of_every_schedule(ref: Reference) -> None:
    for name in ref.arrays.config["schedules"]:
        b = ref.betas(name)
        q = Diffusion.vp(b)
        bar, clean = q.alpha.square(), 1 - q.sigma.square()
        post = [
            q.posterior(torch.ones(1).double(), torch.zeros(1).double(), t, t - 1)
            for t in range(1, ref.T + 1)
        ]
        on_x0 = [
            q.posterior(torch.zeros(1).double(), torch.ones(1).double(), t, t - 1)
            for t in range(1, ref.T + 1)
        ]
        variance = torch.tensor([float(p.std) ** 2 for p in post])
        tables = {
            "betas": b, "alphas_cumprod": bar[1:], "alphas_cumprod_prev": bar[:-1],
            "sqrt_alphas_cumprod": q.alpha[1:], "sqrt_one_minus_alphas_cumprod": q.sigma[1:],
            "log_one_minus_alphas_cumprod": (1 - clean[1:]).log(),
            "sqrt_recip_alphas_cumprod": 1 / q.alpha[1:],
            "sqrt_recipm1_alphas_cumprod": q.sigma[1:] / q.alpha[1:],
            "posterior_variance": variance,
            "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
            "posterior_mean_coef1": torch.cat([p.mean for p in on_x0]),
            "posterior_mean_coef2": torch.cat([p.mean for p in post]),
        }  # fmt: skip
        for table, found in tables.items():
            wanted = ref.arrays[f"{ref.out}/buf_{name}_{table}"]
            torch.testing.assert_close(found.to(wanted.dtype), wanted, atol=1e-6, rtol=1e-5)


def test_noise_losses_and_one_step(ref: Reference) -> None:
    x, noise, t = (ref.given(f"in/{n}") for n in ("x", "noise", "t"))
    past, t = {"past": ref.given("in/cond")}, t + 1
    with torch.no_grad():
        ref.close(ref.q.combine(x, noise, t), "q_sample")
        for error in ("l1", "l2", "huber"):
            ref.close(ref.denoiser(error).loss(x, t, noise, **past).mean(), f"p_losses_{error}")
        found = ref.q.posterior(x, ref.denoiser()(x, t, **past).x0, t, t - 1)
    ref.close(found.mean, "p_mean")
    ref.close(torch.as_tensor(found.std).square(), "p_var")


class Given:
    """An RNN that says what the arrays say."""

    def __init__(self, ref: Reference) -> None:
        self.ref = ref

    def read(self, lagged: Tensor, extra: Tensor) -> tuple[Tensor, None]:
        return self.ref.given("in/seq_cond"), None

    def __call__(self, x: Tensor, label: Tensor, past: Tensor) -> Tensor:
        return self.ref.network(x, label, past)


def test_the_loss_of_a_window_masked_and_as_in_the_reference(ref: Reference) -> None:
    x = ref.given("in/seq") / ref.given("in/seq_scale")
    ref.close(x, "log_prob_x_after")
    t, eps = ref.given("noise/000").view(x.shape[:2]) + 1, ref.given("noise/001").view_as(x)
    network: Any = Given(ref)
    seen = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) > 0.3
    with torch.no_grad():
        for observed in (torch.ones_like(seen), seen):
            batch = Batch(x, observed, x, x, x)
            loss = masked_error(network, ref.q, batch, t, eps, reference=True)
            ref.close(loss, "log_prob_loss")
        masked = masked_error(network, ref.q, batch, t, eps)
        noisy = ref.q.combine(x.flatten(0, 1), eps.flatten(0, 1), t.flatten())[:, None]
        told = labels(ref.q.label, t.flatten(), noisy)
        size = (
            network(noisy, told, ref.given("in/seq_cond").flatten(0, 1)[:, None])[:, 0] - eps.flatten(0, 1)
        ).square()
    assert float(masked) == pytest.approx(float(size[seen.flatten(0, 1)].mean()), rel=1e-6)
    assert float(masked) != pytest.approx(float(loss), rel=1e-3)


def test_samples_step_by_step(ref: Reference) -> None:
    tape: Any = Tape([ref.given(f"noise/{i:03d}") for i in range(2, ref.T + 3)])
    x = tape(ref.given("in/x"), ref.T)
    with torch.no_grad():
        steps = reverse(ref.denoiser(), x, descend(ref.T), noise=tape, past=ref.given("in/cond"))
        found = torch.stack([step.x for step in steps])
    ref.close(found, "sample_trajectory", 10.0)
    ref.close(found[-1] * ref.given("in/sample_scale"), "sample", 10.0)


def test_the_scale_of_a_window(ref: Reference) -> None:
    x, seen = ref.given("in/scaler_data"), ref.given("in/scaler_obs") > 0
    count = seen.sum((0, 1)).clamp(min=1)
    usual = (x.abs() * seen).sum((0, 1)) / count  # of the batch, where ours takes that of the training
    found = mean_scale(x, seen, usual)
    ref.close(found, "scale")
    close(x / found, ref.arrays[f"{ref.out}/scaled"], rtol=1e-5)
