"""What the claim on DiffPure shows: pictures first, then the curve over levels, then every attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headwater.attacks import Attack, Report, Threat
from headwater.attacks.report import KNOWN, WORST
from headwater.methods.robustness.shared.purified import Purified
from headwater.metrics.statistics import wilson_interval
from headwater.noise import seeds
from headwater.report import Page, Section, Series, Signed

TITLES = {
    "bare": "No purifier",
    "sde": "DiffPure, SDE",
    "ode": "DiffPure, ODE",
    "bare, L2": "No purifier, Euclidean attack",
    "sde, L2": "DiffPure, SDE, Euclidean attack",
}
WAYS = ("picture", "attacked", "attack", "purified", "purified picture")


@dataclass(frozen=True)
class Example:
    """One picture on its way, (1, H, W) each in [0, 1], and what the classifier calls it."""

    truth: int
    cells: Sequence[Tensor]
    said: Sequence[str]


@torch.no_grad()
def examples(
    classifier: nn.Module,
    defended: Purified,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    attack: Attack,
    n: int = 6,
) -> list[Example]:
    """The first n pictures: clean, attacked (by one who knows the purifier), purified."""
    x, y, own = images[:n], labels[:n], seeds(0, 77, n=min(n, len(images)))
    hostile = attack.perturb(defended, threat, x, y, own)[-1]
    purified, calm = defended.purified(hostile, own), defended.purified(x, own)
    stages = [x, hostile, hostile - x, purified, calm]
    named = [None if i == 2 else classifier(stage).argmax(1).tolist() for i, stage in enumerate(stages)]
    return [
        Example(
            int(y[i]),
            [stage[i].cpu() for stage in stages],
            ["" if names is None else f"seen as {names[i]}" for names in named],
        )
        for i in range(len(x))
    ]


def tell(
    page: Page,
    threat: Threat,
    level: int,
    arms: Mapping[str, list[Report]],
    sweep: Mapping[int, list[Report]],
    gallery: list[Example],
) -> Section:
    """Add the section. Arms and levels map to one report per seed."""
    section = page.section(
        "Attacks washed out: DiffPure",
        "A classifier of 8 x 8 digits behind a purifier that it knows nothing of, attacked by those who do.",
    )
    section.pictures(
        WAYS,
        [[_shown(cell, k, threat) for k, cell in enumerate(example.cells)] for example in gallery],
        [f"a {example.truth}" for example in gallery],
        [list(example.said) for example in gallery],
        caption=f"Attack by exact gradients through the purifier at level {level}, {threat}. It aims at the "
        "purified picture (fourth column), not at what the bare classifier sees.",
    )
    levels = sorted(sweep)
    curves = {
        "no attack": [[r.clean for r in sweep[t]] for t in levels],
        "worst case": [[r.worst for r in sweep[t]] for t in levels],
    }
    series = []
    for name, held in curves.items():
        rows = [_row(v) for v in held]
        series.append(Series(name, levels, *map(list, zip(*rows, strict=True))))
    strongest = sweep[level][0].strongest
    section.curve(
        series,
        x="level t* (of 1,000)",
        y="share still right",
        caption=f"More noise washes out more of the attack, then of the digit. Worst case of "
        f"{len(sweep[level][0].held)} attacks, the strongest at level {level} being: {strongest}. "
        f"All attacks at full length leave {_row([r.worst for r in arms['sde']])[0]:.3f} there. "
        "Bands: Wilson 95 %.",
    )
    for name, reports in arms.items():
        _table(section, TITLES[name], reports)
    return section


def _table(section: Section, title: str, reports: list[Report]) -> None:
    first = reports[0]
    named = {WORST: [r.worst for r in reports]}
    named |= {name: [r.held[name] for r in reports] for name in first.held}
    known = [r.known for r in reports if r.known is not None]
    if known:
        named[f"({KNOWN})"] = known
    named["no attack"] = [r.clean for r in reports]
    section.table(
        [title, "still right", "95 % interval, from", "to"],
        [[name, *_row(held)] for name, held in named.items()],
        caption=f"{first.threat}, {len(first.clean)} pictures, mean of {len(reports)} seeds, {first.votes} "
        f"votes; strongest single attack: {first.strongest}. Wilson's interval for that many pictures.",
        decimals={"still right": 3, "95 % interval, from": 3, "to": 3},
    )
    for doubt in sorted({d for r in reports for d in r.doubts}):
        section.note(doubt)


def _row(held: list[Tensor]) -> tuple[float, float, float]:
    """Share over seeds, with the interval of as many pictures as there are: seeds are no new pictures."""
    share, n = float(torch.stack(held).double().mean()), len(held[0])
    return share, *wilson_interval(round(share * n), n)


def _shown(cell: Tensor, column: int, threat: Threat) -> Tensor | Signed:
    if WAYS[column] == "attack":
        return Signed(cell, threat.eps if threat.norm == "linf" else None)
    return cell * 2 - 1
