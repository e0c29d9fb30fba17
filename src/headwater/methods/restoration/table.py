"""The methods of restoration on the same pictures, with the same number of network calls: which of them beat
what needs no prior at all?

Held-out emoji and photographs, each set with its own prior. Holes: thin strokes, thick strokes, every second
row. Small: blocks of 4 x 4 pixels averaged, with noise of 0.1 on [-1, 1]. The baselines are the picture of
least total variation that fits what was measured, its weight chosen on training pictures, and for small ones
bicubic interpolation and the pseudo-inverse. RePaint, DDRM and DPS are told what was measured (DPS's weight
is chosen on training pictures too); ILVR and SDEdit, which know no measurement, start from the baseline's
picture, and given pixels are pasted back.

Required, on both sets, beyond chance over pictures: in holes, of RePaint, DDRM and DPS each, PSNR in the hole
above total variation's, and detail nearer to the truth's; of small pictures, of DDRM and DPS each, PSNR above
the three baselines', and of DDRM with its paper's 20 calls no more than 0.5 dB below. Reported beside: the
same of ILVR and SDEdit. Written before any figure at full effort or of a photograph was seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.baselines.total_variation import total_variation
from headwater.core import network_calls
from headwater.data import load
from headwater.data.holes import known_pixels
from headwater.experiments.comparison import Comparison
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.methods.restoration.ddrm.method import DDRM
from headwater.methods.restoration.dps.method import DPS
from headwater.methods.restoration.ilvr.method import ILVR
from headwater.methods.restoration.repaint.method import RePaint
from headwater.methods.restoration.shared.claim_pictures import FACTOR, SIDE, enlarged, held_out, noisy
from headwater.methods.translation.sdedit.method import SDEdit
from headwater.metrics.image import hole_error, psnr
from headwater.models import Prior
from headwater.operators import BlockAverage, Masked, Operator
from headwater.report import Cell

SETS = ("emoji", "photos")
FAMILIES = ("narrow", "wide", "alternating lines")
BARE, BICUBIC, INVERSE = "total variation", "bicubic", "pseudo-inverse"
FAST = "DDRM, fewer calls"
ALLOWED = 0.5
"""dB by which few calls may lie below many."""
TOLD = {"holes": ("RePaint", "DDRM", "DPS"), "small": ("DDRM", "DPS")}
"""Methods that are told what was measured, which must beat the baselines."""
UNTOLD = {"holes": ("SDEdit", "ILVR"), "small": ("ILVR",)}
NOISE = 0.1
CHOOSING = 1_000_003
"""Seed of what weights are chosen on."""
Restore = Callable[[Tensor, Tensor | None, int], Tensor]
"""Measured pictures, their mask and a seed to restored pictures."""


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    pictures: int
    """Held-out pictures per seed, set and measurement."""
    choosing: int
    """Training pictures that weights are chosen on."""
    ilvr: ILVR
    sdedit: SDEdit
    repaint: RePaint
    ddrm: DDRM
    dps: DPS
    smoothing: tuple[float, ...] = (0.001, 0.01, 0.03, 0.1)
    """Weights of the total variation."""
    scales: tuple[float, ...] = (0.3, 1.0, 3.0)
    """Weights of DPS's gradient."""
    few: int = 20
    """Network calls of DDRM's paper."""

    def calls(self, T: int) -> dict[str, int]:
        """Network calls a picture with a prior of T levels."""
        return {
            "RePaint": network_calls(self.repaint.plan(T)),
            "DDRM": self.ddrm.steps,
            "DPS": self.dps.steps,
            "SDEdit": network_calls(self.sdedit.plan(T)),
            "ILVR": self.ilvr.steps,
        }


def smoothest(y: Tensor, known: Tensor | None, weight: float) -> Tensor:
    """The pictures (B, C, SIDE, SIDE) of least total variation, each channel on its own."""
    a: Operator = BlockAverage(FACTOR) if known is None else Masked(known.repeat_interleave(y.shape[1], 0))
    found = total_variation(a, a.kept(y.flatten(0, 1)[:, None]), weight, 600)
    return found.unflatten(0, (len(y), -1))[:, :, 0].clamp(-1, 1)


def detail(image: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """How far the amount of detail in the hole is from the truth's, in octaves either way, (B,): the mean
    size of the Laplacian there. 1 is half as much, or twice."""
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).expand(image.shape[1], 1, 3, 3)

    def amount(x: Tensor) -> Tensor:
        curved = F.conv2d(F.pad(x, (1, 1, 1, 1), "replicate"), kernel, groups=x.shape[1]).abs()
        return (curved * ~known).sum((1, 2, 3)) / (~known).expand_as(x).sum((1, 2, 3)) + 0.01

    return (amount(image) / amount(truth)).log2().abs()


def measured(truth: Tensor, family: str, seed: int) -> tuple[Tensor, Tensor | None]:
    """What is measured of pictures behind holes of a family, or else of small ones, and the mask."""
    if not family:
        return noisy(BlockAverage(FACTOR).forward(truth), NOISE, seed), None
    known = known_pixels(family, len(truth), SIDE, SIDE, seed)
    return truth * known, known


def chosen(
    weights: tuple[float, ...], restore: Callable[[float], Restore], name: str, n: int
) -> dict[str, float]:
    """The weight of the best PSNR on n training pictures of a set, for holes and for small pictures."""
    images, found = load(name, "train", SIDE).images, dict[str, float]()
    truth = images[:: len(images) // n][:n]
    for family in (FAMILIES[1], ""):
        y, known = measured(truth, family, CHOOSING)
        quality = {w: float(psnr(restore(w)(y, known, CHOOSING), truth).mean()) for w in weights}
        found["holes" if family else "small"] = max(quality, key=lambda w: quality[w])
    return found


def measure(settings: Settings, trial: Trial) -> None:
    """Restore the pictures of both sets in every way."""
    trial.found.samples |= {"chosen": {}, "calls": {}}
    for name in SETS:
        _measure(settings, trial, name)


def _measure(settings: Settings, trial: Trial, name: str) -> None:
    prior = trial.once(name, lambda: Prior.from_pretrained(name))
    truth = held_out(settings.pictures, trial.seed, name)

    def by(method: DDRM | DPS) -> Restore:
        def restore(y: Tensor, known: Tensor | None, seed: int) -> Tensor:
            said = {"by": "mask"} if known is not None else {"by": f"block-average {FACTOR}", "noise": NOISE}
            return replace(method, **said).apply(prior, y, known, **trial.run(16, seed)).clamp(-1, 1)  # pyright: ignore[reportArgumentType]

        return restore

    def plain(weight: float) -> Restore:
        return lambda y, known, seed: smoothest(y, known, weight)

    def guided(scale: float) -> Restore:
        return by(replace(settings.dps, scale=scale))

    n = settings.choosing
    smoothing = trial.once(f"{BARE}, {name}", lambda: chosen(settings.smoothing, plain, name, n))
    scale = trial.once(f"DPS, {name}", lambda: chosen(settings.scales, guided, name, n))
    trial.found.samples["chosen"] |= {f"{BARE}, {name}": smoothing, f"DPS, {name}": scale}
    trial.found.samples["calls"] = settings.calls(prior.process.T)
    seconds: dict[str, list[float]] = {}
    rows: list[list[Cell | None]] = []
    columns = ["truth", "measured", BARE, *TOLD["holes"], *UNTOLD["holes"]]
    for family in (*FAMILIES, ""):
        task = "holes" if family else "small"
        y, known = measured(truth, family, trial.seed)
        restored = {BARE: smoothest(y, known, smoothing[task])}
        if known is None:
            restored |= {BICUBIC: enlarged(y), INVERSE: BlockAverage(FACTOR).pseudo_inverse(y).clamp(-1, 1)}
        guess = restored[BICUBIC if known is None else BARE]
        ways: dict[str, Callable[[], Tensor]] = {
            "DDRM": lambda y=y, known=known: by(settings.ddrm)(y, known, trial.seed),
            "DPS": lambda y=y, known=known, task=task: guided(scale[task])(y, known, trial.seed),
            "ILVR": lambda guess=guess: settings.ilvr.apply(prior, guess, **trial.run(16)),
        }
        if known is None:
            ways[FAST] = lambda y=y: by(replace(settings.ddrm, steps=settings.few))(y, None, trial.seed)
        else:
            ways["RePaint"] = lambda known=known: settings.repaint.apply(prior, truth, known, **trial.run(16))
            ways["SDEdit"] = lambda known=known, guess=guess: settings.sdedit.apply(
                prior, guess, known, **trial.run(16)
            )
        for arm, restore in ways.items():
            since = time.perf_counter()
            restored[arm] = restore()
            seconds.setdefault(arm, []).append((time.perf_counter() - since) / len(truth))
        for arm, image in restored.items():
            pasted = image if known is None else truth.where(known, image)
            if known is None:
                trial.found.add(f"PSNR, small, {name}", arm, psnr(pasted, truth))
            else:
                error = hole_error(pasted, truth, known)
                trial.found.add(f"PSNR, holes, {name}", arm, 10 * (4 / error).log10(), family)
                trial.found.add(f"detail, holes, {name}", arm, detail(pasted, truth, known), family)
            restored[arm] = pasted
        shown = F.interpolate(y, (SIDE, SIDE), mode="nearest")
        for i in range(min(2, len(truth))):
            row = {"truth": truth[i], "measured": shown[i], **{arm: x[i] for arm, x in restored.items()}}
            rows.append([row.get(column) for column in columns])  # what a method does not do is left empty
    for arm, taken in seconds.items():
        trial.found.add("seconds a picture", arm, [sum(taken) / len(taken)], name)
    labels = [f"{family or 'small'}" for family in (*FAMILIES, "") for _ in range(min(2, len(truth)))]
    trial.section.pictures(columns, rows, labels, caption=f"The first {name} of the first seed.")


def rule(results: Results[Settings]) -> list[Comparison]:
    """The rule at the head of this file."""
    found: list[Comparison] = []
    for name in SETS:
        for task, others in (("holes", [BARE]), ("small", [BICUBIC, INVERSE, BARE])):
            for arm in (*TOLD[task], *UNTOLD[task]):
                told = arm in TOLD[task]
                for measure in ("PSNR", "detail")[: 2 if task == "holes" else 1]:
                    key = f"{measure}, {task}, {name}"
                    found += [
                        results.compare(f"{key}: {arm} against {o}", (key, arm), (key, o), required=told)
                        for o in others
                    ]
        key, few, many = f"PSNR, small, {name}", results.settings.few, results.settings.ddrm.steps
        what = f"{key}: DDRM, {few} calls against {many}, less {ALLOWED} dB"
        found.append(results.compare(what, (key, FAST), results.rows(key, "DDRM") - ALLOWED))
    return found


CALLS = 105
FULL = Settings(
    8,
    4,
    ILVR(4, steps=CALLS, free=0),
    SDEdit(700, steps=CALLS),
    RePaint(steps=25, jump=5, resample=5),
    DDRM(steps=CALLS),
    DPS(steps=CALLS),
)


def at(calls: int, repaint: RePaint) -> Settings:
    """Few pictures and calls."""
    changed = {n: replace(getattr(FULL, n), steps=calls) for n in ("sdedit", "ddrm", "dps")}
    ilvr = replace(FULL.ilvr, steps=calls)
    return replace(FULL, few=calls // 2, pictures=2, choosing=1, ilvr=ilvr, repaint=repaint, **changed)


CLAIM = Claim(
    "restoration",
    "Restoration, side by side",
    "Held-out emoji and photographs with holes, or made small and noisy, restored by each method with the "
    "same prior and about the same number of network calls, and without any prior.",
    statement="With as many network calls each, methods that are told what was measured restore pictures "
    "better than the smoothest picture that fits, and than bicubic interpolation.",
    unit="picture",
    tiny=at(2, RePaint(2, 1, 1)),
    quick=at(20, RePaint(10, 2, 2)),
    full=FULL,
    measures={
        f"{what}, {name}": how
        for name in SETS
        for what, how in (
            ("PSNR, holes", Measure("larger", "In dB, of what was hidden.")),
            ("detail, holes", Measure("smaller", "Octaves that the detail in the hole is off the truth's.")),
            ("PSNR, small", Measure("larger", "In dB.")),
        )
    }
    | {"seconds a picture": Measure("smaller", "On the cores of this run.")},
    measure=measure,
    rule=rule,
    extra=lambda results: {
        "chosen weights": results.first["chosen"],
        "calls": results.first["calls"],
    },
    new_units=True,
)
