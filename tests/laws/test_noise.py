"""Noise laws: every sample owns its randomness, and every law has the distribution that it names."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.noise import Noise, PowerLaw, RandomSimplex, Simplex, Truncated, White, derive, seeds
from headwater.noise.laws import octave_covariance, octave_variance

LAWS = [
    White(),
    Truncated(1.5),
    PowerLaw(octaves=3, wavelength=8.0),
    Simplex(),
    Simplex(octaves=3, wavelength=8.0, scale="unit"),
    RandomSimplex(octaves=3, wavelength=16.0, white=0.3),
]
DTYPES = [torch.float32, torch.float64, torch.complex64, torch.bfloat16]


def by_name(law: Noise) -> str:
    return repr(law)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("law", LAWS, ids=by_name)
def test_a_sample_is_the_same_in_any_batch(law: Noise, dtype: torch.dtype) -> None:
    names = seeds(5, 2, n=11)
    levels = torch.tensor([3, 0, 7, 3, 250, 250, 1, 3, 999, 1000, 7])
    like = torch.empty(11, 2, 9, 6, dtype=dtype)
    whole = law.stream(names)
    first, second = whole(like, levels), whole(like, levels)
    assert first.dtype == dtype
    assert first.shape == like.shape
    assert not torch.equal(first, second)
    for rows in (slice(0, 1), slice(4, 5), slice(2, 5), slice(1, 10)):
        part = law.stream(names[rows])
        assert torch.equal(part(like[rows], levels[rows]), first[rows])
        assert torch.equal(part(like[rows], levels[rows]), second[rows])
    alone = law.stream(names[4:6])
    assert torch.equal(alone(like[4:6], 250), first[4:6])


@pytest.mark.parametrize("law", [White(), Truncated()], ids=by_name)
@given(shape=st.lists(st.integers(1, 9), max_size=3), batch=st.integers(1, 5))
def test_pointwise_laws_fill_any_shape(law: Noise, shape: list[int], batch: int) -> None:
    like = torch.empty(batch, *shape)
    field = law.stream(range(batch))(like)
    assert field.shape == like.shape
    last = law.stream([batch - 1])(like[-1:])
    assert torch.equal(field[-1:], last)


@pytest.mark.parametrize("law", LAWS, ids=by_name)
def test_channels_and_complex_parts_are_independent(law: Noise) -> None:
    field = law.stream(seeds(1, n=200))(torch.empty(200, 2, 4, 4, dtype=torch.complex128), 100)
    for one, two in ((field.real, field.imag), (field[:, 0].real, field[:, 1].real)):
        correlation = (one * two).mean() / (one.std() * two.std())
        # Neighbouring pixels agree, so about one value per sample counts.
        assert abs(correlation) < 4 / math.sqrt(200)


def test_white_has_unit_variance_in_both_complex_parts() -> None:
    field = White().stream([0, 1])(torch.empty(2, 100_000, dtype=torch.complex64))
    for part in (field.real, field.imag):
        assert part.std().item() == pytest.approx(1, abs=0.01)
        assert part.mean().item() == pytest.approx(0, abs=0.01)


def test_truncated_matches_the_conditional_normal() -> None:
    bound = 1.3
    field = Truncated(bound).stream([3])(torch.empty(1, 400_000, dtype=torch.float64))
    assert field.abs().max() <= bound
    density = math.exp(-(bound**2) / 2) / math.sqrt(2 * math.pi)
    mass = math.erf(bound / math.sqrt(2))
    assert field.var().item() == pytest.approx(1 - 2 * bound * density / mass, abs=4e-3)
    inside = math.erf(0.5 / math.sqrt(2)) / mass
    assert (field.abs() < 0.5).double().mean().item() == pytest.approx(inside, abs=4e-3)


def test_power_law_is_gaussian_with_unit_variance() -> None:
    field = PowerLaw(octaves=4, wavelength=4.0).stream(seeds(0, n=64))(torch.empty(64, 1, 48, 48))
    assert field.mean().item() == pytest.approx(0, abs=0.03)
    assert field.var().item() == pytest.approx(1, abs=0.03)
    kurtosis = field.pow(4).mean() / field.var() ** 2
    assert kurtosis.item() == pytest.approx(3, abs=0.12)


def test_power_law_feels_no_torus() -> None:
    """Opposite borders of the picture are as far apart as they look: the covariance is the plane's."""
    law = PowerLaw(octaves=2, persistence=0.5, wavelength=6.0)
    field = law.stream(seeds(4, n=1500))(torch.empty(1500, 1, 4, 24, dtype=torch.float64))
    lags = torch.tensor([0.0, 1, 3, 5, 12, 23], dtype=torch.float64)
    wanted = octave_covariance(lags / 6) + 0.25 * octave_covariance(lags / 3)
    found = torch.stack([(field[..., 0] * field[..., int(lag)]).mean() for lag in lags])
    torch.testing.assert_close(found, wanted / wanted[0], atol=0.06, rtol=0)


def radial(field: torch.Tensor) -> torch.Tensor:
    """Mean periodogram in rings of |frequency|, of fields faded out towards their borders."""
    size = field.shape[-1]
    window = torch.hann_window(size, dtype=field.dtype)
    power = torch.fft.fft2(field * window * window[:, None]).abs().square().mean((0, 1))
    frequency = torch.fft.fftfreq(size, dtype=field.dtype) * size
    ring = torch.hypot(frequency, frequency[:, None]).round().long()
    total = torch.zeros(int(ring.max()) + 1, dtype=field.dtype)
    total.index_put_((ring,), power, accumulate=True)
    return (total / ring.flatten().bincount())[1 : size // 2]


def test_power_law_has_the_spectrum_and_variance_of_simplex_noise() -> None:
    like = torch.empty(150, 1, 64, 64, dtype=torch.float64)
    levels = torch.arange(25).repeat_interleave(6) * 79
    gauss = PowerLaw().stream(seeds(1, n=150))(like)
    simplex = Simplex(scale="unit").stream(seeds(2, n=150))(like, levels)
    a, b = radial(gauss).log(), radial(simplex).log()
    assert torch.corrcoef(torch.stack((a, b)))[0, 1] > 0.99
    assert (a - b).abs().max() < 0.5
    assert simplex.var(0).mean().item() == pytest.approx(1, abs=0.05)


def test_octave_covariance_matches_its_definition() -> None:
    """Against the defining integral over a fine grid, and the closed form of the variance at 0."""
    beta = math.gamma(2.5) * math.gamma(9) / math.gamma(11.5)
    variance = 51 / 2 / 103**2 * 4 * math.pi * 2**10 * math.sqrt(2) / 2 * beta
    assert octave_variance(1, 0.8) == pytest.approx(variance, rel=1e-12)
    assert octave_variance(3, 0.5) == pytest.approx(variance * (1 + 1 / 4 + 1 / 16), rel=1e-12)
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)
    s = torch.stack(torch.meshgrid(x, x, x, indexing="ij"), -1)
    for r in (0.3, 1.0, 1.9):
        other = s + torch.tensor([r, 0, 0], dtype=torch.float64)
        f, g = ((2 - v.square().sum(-1)).clamp(min=0) ** 4 for v in (s, other))
        integral = (f * g * (s * other).sum(-1)).sum() * 0.1**3
        found = octave_covariance(torch.tensor([r], dtype=torch.float64))
        assert found.item() == pytest.approx(51 / 2 / 103**2 * integral.item(), abs=2e-6)
    assert octave_covariance(torch.tensor([2.83, 9.0], dtype=torch.float64)).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_uniform_is_open_and_reproducible(dtype: torch.dtype) -> None:
    like = torch.empty(3, 200_000, dtype=dtype)
    draws = White().stream([1, 2, 3]).uniform(like)
    assert draws.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert draws.min() > 0
    assert draws.max() < 1
    assert draws.mean().item() == pytest.approx(0.5, abs=5e-3)
    assert (-(-draws.log()).log()).isfinite().all()
    assert torch.equal(White().stream([2]).uniform(like[:1]), draws[1:2])


def test_uniform_lifts_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda self, *a, **k: self.zero_())
    assert White().stream([0]).uniform(torch.empty(1, 5)).min() > 0


@given(
    seed=st.integers(-(2**80), 2**80), key=st.lists(st.integers(-5, 2**40), max_size=3), n=st.integers(1, 20)
)
def test_seeds_are_a_pure_function_of_the_index(seed: int, key: list[int], n: int) -> None:
    many = seeds(seed, *key, n=n)
    assert many == seeds(seed, *key, n=n + 3)[:n] == [derive(seed, *key, i) for i in range(n)]
    assert all(0 <= s < 2**63 for s in many)


def test_seeds_do_not_collide_even_in_the_32_bits_that_torch_uses() -> None:
    prefixes = ((), (0,), (1,), (0, 0), (0, 1), (1, 0))
    keys = {(s, *prefix, i) for s in range(20) for prefix in prefixes for i in range(20)}
    # One equal pair is expected in 1,500 such sets of well-mixed numbers.
    assert len({derive(*key) & 0xFFFFFFFF for key in keys}) == len(keys)


@settings(max_examples=20)
@given(bit=st.integers(0, 63), value=st.integers(0, 2**62))
def test_one_bit_of_the_key_changes_about_half_of_the_seed(bit: int, value: int) -> None:
    flips = [(derive(7, value, i) ^ derive(7, value ^ (1 << bit), i)).bit_count() for i in range(40)]
    assert sum(flips) / len(flips) == pytest.approx(31.5, abs=3.5)


def test_parameters_are_drawn_for_every_field() -> None:
    """A field is that of the law drawn for it; shares of laws are as they say."""
    law = RandomSimplex(octaves=2, wavelength=8.0, white=0.25)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds(3, n=400)]
    drawn = [law._law(g) for g in generators]
    white = sum(isinstance(one, White) for one in drawn)
    assert 70 <= white <= 130
    simplex = [one for one in drawn if isinstance(one, Simplex)]
    assert {one.octaves for one in simplex} == {1, 2}
    assert {round(one.persistence, 6) for one in simplex} == {0.48, 0.64, 0.8}
    assert {one.wavelength for one in simplex} == {8.0, 4.0, 2.0, 1.0}
    again = torch.Generator().manual_seed(seeds(3, n=1)[0])
    alone = law._law(again).draw(torch.empty(1, 1, 8, 8), [again], 5)
    assert torch.equal(law.stream(seeds(3, n=1))(torch.empty(1, 1, 8, 8), 5), alone)
    with pytest.raises(ValueError, match="probability from 0 to 1"):
        RandomSimplex(white=1.5)


@pytest.mark.parametrize("law", LAWS, ids=by_name)
def test_a_wrong_number_of_seeds_is_refused(law: Noise) -> None:
    stream = law.stream([1, 2])
    with pytest.raises(ValueError, match="one seed per sample"):
        stream(torch.empty(3, 1, 8, 8))
    with pytest.raises(ValueError, match="one seed per sample"):
        stream.uniform(torch.empty(1, 4))


@pytest.mark.parametrize("law", LAWS, ids=by_name)
def test_integers_are_refused(law: Noise) -> None:
    with pytest.raises(ValueError, match="convert it first"):
        law.stream([1])(torch.zeros(1, 1, 8, 8, dtype=torch.int64))


@pytest.mark.parametrize("law", [PowerLaw(), Simplex()], ids=by_name)
def test_fields_need_a_picture(law: Noise) -> None:
    with pytest.raises(ValueError, match="height, width"):
        law.stream([1])(torch.zeros(1, 8, 8))


@pytest.mark.parametrize("law", [PowerLaw, Simplex])
@pytest.mark.parametrize("wrong", [{"octaves": 0}, {"persistence": 0.0}, {"wavelength": -1.0}], ids=str)
def test_senseless_parameters_are_refused(
    law: type[PowerLaw] | type[Simplex], wrong: dict[str, float]
) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
        law(**wrong)  # type: ignore[arg-type]


def test_other_senseless_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="bound is"):
        Truncated(0.0)
    with pytest.raises(ValueError, match="scale is"):
        Simplex(scale="std")  # type: ignore[arg-type]
