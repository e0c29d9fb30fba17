"""One method on one kind of prior: does it run and do what any method of its sort must, or why not?

Nothing here names a method. What it takes and returns says what must hold (`judge`), so that a method that
joins the catalogue is judged, and stands on docs/any-prior.md, without a line.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from contract import specimens as make
from headwater.cli.methods import kinds, results
from headwater.errors import UserError
from headwater.methods.catalogue import METHODS
from headwater.models import Prior
from headwater.operators import Fourier
from headwater.operators.named import operator_of
from matrix.kinds import KINDS, LEVELS, STD, Shape, drawn, mean

NAMES = [name for name in METHODS if make.needs_prior(METHODS[name].load()())]
"""Every method of a prior."""
N = 6
"""Pictures at a time."""
LOUD = 0.5
"""Ratio of noise to signal at the timestep that methods noise pictures to."""
ENOUGH = {"steps": 25, "jump": 5, "resample": 2}
FEW = {"steps": 8, "jump": 2, "resample": 2, "samples": 1}
"""Settings of a walk that is judged, and of one that has only to arrive, by the names of fields."""
TRAINED = {"steps": 60, "lr": 3e-3}
"""How long anything is trained that is judged."""
UNTRAINED: dict[str, Any] = {"training": {"steps": 1}}
"""The same of what has only to be there."""
QUIET = {"progress": False, "device": "cpu", "seed": 0}
SPOT = (..., slice(0, 4), slice(0, 4))
"""Where a spoilt picture shows what no picture has there."""


@cache
def refusal(name: str, kind: str) -> str:
    """The sentence in which a method declines a kind of prior; empty where it runs and does what it must.

    AssertionError where it does not, and where it declines only after work.
    """
    try:
        run(name, prior_for(name, kind, LEVELS), ENOUGH, judge)
        with read_back(name, kind) as prior:
            if prior is not None:
                run(name, prior, FEW, arrived)
    except UserError as error:
        return str(error)
    return ""


class Called(BaseException):
    """A network was asked: nothing declines any more. No Exception, which a method may catch."""


def declined(name: str, kind: str) -> str:
    """What `refusal` finds, much sooner: each run ends where the prior's network is first asked."""
    try:
        with contextlib.suppress(Called):
            run(name, prior_for(name, kind, LEVELS), {**ENOUGH, **UNTRAINED}, arrived, called)
        with read_back(name, kind) as prior, contextlib.suppress(Called):
            if prior is not None:
                run(name, prior, {**FEW, **UNTRAINED}, arrived, called)
    except UserError as error:
        return str(error)
    return ""


def called(*_: Any) -> None:
    raise Called


@contextlib.contextmanager
def read_back(name: str, kind: str) -> Iterator[Prior | None]:
    """A prior that has gone through the kind of file that it comes in; None where that is not of its own."""
    given = KINDS[kind]
    if given.read is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        yield given.read(given.untrained(given.shape(usual(name))), Path(folder))


def prior_for(name: str, kind: str, T: int) -> Prior:
    """In closed form, or with a network where the method looks into it, as those that label do."""
    method, given = METHODS[name].load(), KINDS[kind]
    looks_inside = hasattr(method, "fit") and "labels" in names_of(results(method))
    return (given.untrained if looks_inside else given.exact)(given.shape(usual(name)), T)


def usual(name: str) -> Shape:
    """Pictures in colour, or in grey for methods of magnitudes."""
    method: Any = METHODS[name].load()
    return (1 if "magnitude" in names_of(kinds(method.evaluate)) else 3, 16, 16)


def names_of(wanted: Mapping[str, Any]) -> set[str]:
    return {kind.name for kind in wanted.values()}


@dataclass(frozen=True)
class Case:
    """A method that has done its work."""

    method: Any
    shape: Shape
    inputs: dict[str, Any]
    found: dict[str, Any]

    def one(self, kind: str) -> Any:
        """The first input of that kind; None where there is none."""
        wanted = kinds(self.method.apply)
        return next((v for k, v in self.inputs.items() if wanted[k].name == kind), None)

    def made(self, kind: str) -> Any:
        """The first output of that kind; None where there is none."""
        wanted = results(type(self.method))
        return next((v for k, v in self.found.items() if wanted[k].name == kind), None)


def run(
    name: str,
    prior: Prior,
    settings: Mapping[str, Any],
    check: Callable[[Case], None],
    heard: Callable[..., None] = lambda *_: None,
) -> None:
    """Apply a method and check what came out. UserError where it declines before any network call.

    heard: called before each call of the network or of a part of it.
    """
    method = sized(name, prior, settings)
    calls: list[int] = []
    hooks = [prior.network.register_forward_pre_hook(lambda *_: calls.append(1))]
    hooks += [part.register_forward_pre_hook(heard) for part in prior.network.modules()]
    try:
        given: dict[str, Any] = {"prior": prior}
        if make.hint(method.apply, "fitted") is not None:
            given["fitted"] = fitted(method, prior)
        inputs = inputs_of(method, method.apply, prior.shape)
        result = method.apply(**given, **inputs, **QUIET)
    except UserError as error:
        if calls:
            raise AssertionError(f"it declines, but after {len(calls)} network calls: {error}") from error
        raise
    finally:
        for hook in hooks:
            hook.remove()
    outputs = results(type(method))
    found = {key: getattr(result, key) if is_dataclass(result) else result for key in outputs}
    check(Case(method, prior.shape, inputs, found))


def sized(name: str, prior: Prior, settings: Mapping[str, Any]) -> Any:
    """The method with these settings, noising pictures to a timestep that is as loud in every process."""
    method, q = make.tiny(name), prior.process
    level = int((q.sigma[1:] / q.alpha[1:] - LOUD).abs().argmin()) + 1
    held = {f.name: getattr(method, f.name) for f in fields(method)}
    wanted = {"level": level, **settings}
    if "training" in held:
        wanted["training"] = replace(held["training"], **{**TRAINED, **wanted.get("training", {})})
    if "measured" in names_of(kinds(method.apply)):  # the default leaves too little of such small pictures
        wanted["by"] = "block-average 2"
    return replace(
        method, **{k: v for k, v in wanted.items() if k in held and not isinstance(held[k], tuple)}
    )


def fitted(method: Any, prior: Prior) -> Any:
    given = {"prior": prior} if make.needs_prior(method, "fit") else {}
    return method.fit(**given, **inputs_of(method, method.fit, prior.shape), **QUIET)


def inputs_of(method: Any, function: Callable[..., Any], shape: Shape) -> dict[str, Any]:
    """What `apply` or `fit` is given: made of pictures that the prior knows, where it is about them."""
    wanted, truth = kinds(function), drawn(shape, N)
    found = make.inputs(function, method, N, shape)
    changed = function.__name__ == "apply" and "labels" not in names_of(results(type(method)))
    masked = "mask" in {wanted[key].name for key in found}
    first = next((key for key in found if wanted[key].name == "images"), "")
    for key in found:
        match wanted[key].name:
            case "images" if key != first and "labels" in names_of(results(type(method))):
                found[key] = torch.where(regions(shape) == 1, 1.0, truth)  # the same place, changed
            case "images":
                found[key] = spoilt(truth) if changed and not masked else truth
            case "measured":
                found[key] = operator_of(method.by, shape).forward(unusual(shape)).expand(N, -1, -1, -1)
            case "labels":
                found[key] = regions(shape).expand(N, -1, -1)
            case "kspace":
                found[key] = list(kspace(truth[:2, 0]))
    return found


def spoilt(truth: Tensor) -> Tensor:
    """The pictures with a spot on the corner of each, and a little noise everywhere."""
    changed = truth + 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(2)).sign()
    changed[SPOT] = 1.0
    return changed


def unusual(shape: Shape) -> Tensor:
    """A picture that is not the mean, (1, C, H, W): brighter above, darker below."""
    return mean(shape)[None] + torch.linspace(STD, -STD, shape[1]).reshape(1, 1, -1, 1)


def regions(shape: Shape) -> Tensor:
    """Where the bright block is, (H, W)."""
    return (mean(shape)[0] > -0.5).long()


def kspace(truth: Tensor) -> Tensor:
    """What a scanner measures of pictures (n, H, W): every second column, and those in the middle."""
    column = torch.arange(truth.shape[-1])
    kept = (column % 2 == 0) | ((column - len(column) // 2).abs() < 3)
    return Fourier("centred").forward((truth[:, None] + 1) / 2 + 0j)[:, 0] * kept


def rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt())


def arrived(case: Case) -> None:
    """Everything that came out is a number."""
    for name, values in case.found.items():
        for value in values:
            assert bool(torch.as_tensor(value).isfinite().all()), f"{name} is not finite"


def judge(case: Case) -> None:
    """What comes out is what any method must make of such inputs, whatever the prior."""
    arrived(case)
    m, prior_draws = mean(case.shape), drawn(case.shape, N)
    images, pictures, mask = case.one("images"), case.made("images"), case.one("mask")
    if (y := case.one("kspace")) is not None:
        truth, others = (prior_draws[:, 0] + 1).div(2).split(len(y))[:2]
        error, usual = rms(torch.stack(list(case.made("magnitude"))) - truth), rms(others - truth)
        assert error < 0.75 * usual, f"{error:.3f} from the truth, where the prior's own are {usual:.3f}"
    elif (y := case.one("measured")) is not None:
        a = operator_of(case.method.by, case.shape)
        best = m + a.pseudo_inverse(y - a.forward(m[None]))
        for what, size in {
            "what was measured": lambda x: rms(a.forward(x) - y),
            "the posterior mean": lambda x: rms(x - best),
        }.items():
            ours, theirs = size(pictures), size(prior_draws)
            assert ours < 0.9 * theirs, f"{ours:.3f} from {what}, where the prior's own are {theirs:.3f}"
    elif case.made("labels") is not None:
        agreement = float((case.made("labels") == regions(case.shape)).float().mean())
        assert agreement > 0.8, f"{agreement:.0%} of pixels are labelled as in the pictures fitted on"
    elif (heat := case.made("map")) is not None:
        spot, mean_heat = float(heat[SPOT].mean()), float(heat.mean())
        assert spot > 2 * mean_heat, f"the spot has {spot:.2f} on the map, all of it {mean_heat:.2f}"
    elif pictures is not None and mask is not None:
        kept = [rms((pictures - images)[side.expand_as(images)]) for side in (mask, ~mask)]
        assert min(kept) < 1e-5, "neither side of the mask is as it was"
        assert rms(pictures - m) < 2 * STD, "what was filled in is not of the prior's pictures"
    elif pictures is not None and images is not None:
        after, before = rms(pictures - m), rms(images - m)
        assert after < before, f"{after:.3f} from what the prior knows, {before:.3f} before"
    else:
        raise AssertionError(
            "nothing says what this method must do: add a rule for what it takes and returns"
        )


def from_the_top(name: str, kind: str) -> None:
    """Walk from the highest timestep, with a network call at each; it may decline."""
    T = 12
    try:
        run(name, prior_for(name, kind, T), {**FEW, "steps": T, "level": T}, arrived)
    except UserError:
        return
