"""The pages of AnoDDPM's claim: pictures, curves and tables of what `anoddpm` measured."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from headwater.methods.anomaly.anoddpm.claim_arms import Arm, Judged
from headwater.methods.anomaly.anoddpm.noise_study import (
    Portrait,
    normal_density,
    octave_grid,
    portrait,
    radial_spectrum,
    spectral_distance,
)
from headwater.metrics.detection import roc_curve
from headwater.metrics.statistics import bootstrap_interval
from headwater.report import Cell, Estimate, Heat, Page, Section, Series

HIGHEST = 0.5
"""Squared error shown as the brightest colour: the paper's fixed threshold."""


def lesions(page: Page, arms: dict[str, Arm], others: dict[str, Judged]) -> Section:
    """What was found by whom: pictures, ROC, the sweep, the table."""
    section = page.section(
        "Lesions found: AnoDDPM",
        "Slices of a head that no prior saw, with inserted lesions; each is noised part of the way, healed "
        "by a prior of healthy heads, and compared with itself.",
    )
    gallery(section, {n: a.at("all") for n, a in arms.items()} | others)
    best = {n: a.at("large") for n, a in arms.items()} | others
    section.curve(
        [roc(name, judged, "large") for name, judged in best.items()],
        "false positive rate",
        "true positive rate",
        "Pixels of all pictures with a large lesion, each noise at the level chosen for large lesions.",
    )
    sweep_curve(section, arms, ("large", "small"))
    table(section, arms, others)
    return section


def gallery(section: Section, judged: dict[str, Judged], rows: Sequence[int] = ()) -> None:
    """Picture, reconstruction and map of each arm, truth; a few pictures of each group."""
    cases = next(iter(judged.values())).cases
    groups = list(dict.fromkeys(cases.group))
    chosen = list(rows) or [i for g in groups for i in cases.rows(g)[: 3 if g == "large" else 2]]
    columns, pictures = ["picture"], []
    for name in judged:
        columns += [f"healed, {name}", f"error, {name}"]
    for i in chosen:
        line: list[Cell] = [cases.image[i]]
        for one in judged.values():
            line += [one.found.healed[i].clamp(-1, 1), Heat(one.found.map[i], high=HIGHEST)]
        pictures.append([*line, cases.truth[i]])
    section.pictures(
        [*columns, "truth"],
        pictures,
        [cases.label[i] for i in chosen],
        caption="Error: squared difference, brightest at 0.5; the pictures lie in [-1, 1].",
    )


def roc(name: str, judged: Judged, *groups: str) -> Series:
    """The pooled pixel ROC at 60 false positive rates."""
    rows = judged.cases.rows(*groups)
    curve = roc_curve(judged.found.map[rows], judged.cases.truth[rows])
    wanted = torch.linspace(0, 1, 60, dtype=torch.float64).square()
    at = torch.searchsorted(curve.false_positive_rate, wanted, right=True) - 1
    return Series(name, wanted.tolist(), curve.true_positive_rate[at].tolist())


def sweep_curve(section: Section, arms: dict[str, Arm], groups: Sequence[str]) -> None:
    """Dice over the level for each arm and group, with 95 % bootstrap bands over pictures."""
    series = []
    for name, arm in arms.items():
        levels = list(arm.scored)
        for group in groups:
            values = [arm.scored[t].dice[arm.scored[t].cases.rows(group)].numpy() for t in levels]
            bands = [bootstrap_interval(v, seed=0) for v in values]
            means = [float(v.mean()) for v in values]
            low, high = [b[0] for b in bands], [b[1] for b in bands]
            series.append(Series(f"{name}, {group}", levels, means, low, high))
    section.curve(
        series,
        "level lambda",
        "best-threshold Dice",
        "All levels on the scored pictures: shown, not chosen from. "
        + "; ".join(
            f"chosen on other pictures for {name}: " + ", ".join(f"{a.chosen[g]} ({g})" for g in groups)
            for name, a in arms.items()
        ),
    )


def table(section: Section, arms: dict[str, Arm], others: dict[str, Judged]) -> None:
    """AUROC and Dice of every arm and baseline."""
    cases = next(iter(arms.values())).averaged.cases
    groups = list(dict.fromkeys(g for g in cases.group if g != "healthy"))
    rows: list[list[object]] = []
    for name, arm in arms.items():
        rows.append(_row(name, {g: arm.at(g) for g in groups}, arm.at("all")))
        if arm.averaged is not arm.at("all"):
            rows.append(_row(f"{name}, averaged", dict.fromkeys(groups, arm.averaged), arm.averaged))
    for name, judged in others.items():
        rows.append(_row(name, dict.fromkeys(groups, judged), judged))
    measures = [f"{m}, {g}" for g in groups for m in ("pixel AUROC", "best Dice")]
    best = dict.fromkeys([*measures, "image AUROC"], "max") | {"error on healthy": "min"}
    section.table(
        ["arm", *measures, "image AUROC", "error on healthy"],
        rows,
        caption="Mean and standard deviation over pictures and seeds, each noise at the level chosen for the "
        "group (image AUROC, error and the averages: for all groups). Best Dice: at each picture's own best "
        "threshold, an upper bound that is the same for all.",
        best=best,  # pyright: ignore[reportArgumentType]
    )


def _row(name: str, by_group: dict[str, Judged], overall: Judged) -> list[object]:
    cells: list[object] = [name]
    for group, judged in by_group.items():
        rows = judged.cases.rows(group)
        cells += [Estimate.of(getattr(judged, m)[rows].tolist()) for m in ("auroc", "dice")]
    return [*cells, overall.image_auroc, overall.healthy_error]


def noise(page: Page, octaves: Sequence[int], wavelengths: Sequence[float], pictures: Tensor) -> None:
    """Simplex fields by octaves and starting wavelength: histogram against the normal curve, spectrum
    against the pictures' own."""
    side = pictures.shape[-1]
    grid = octave_grid(octaves, wavelengths, side)
    own = radial_spectrum(pictures)
    section = page.section(
        "Simplex noise by octaves and starting wavelength",
        f"The starting frequency of the paper is 1 / wavelength; fields and pictures are {side} x {side}.",
    )
    names = [f"{w:g} px" for w in wavelengths]
    lines = [f"{o} octave{'s' if o > 1 else ''}" for o in octaves]
    section.pictures(
        names,
        [[p.example.clamp(-1, 1) for p in row] for row in grid],
        lines,
        [[f"std {p.std:.2f}" for p in row] for row in grid],
        "One field each, as drawn; black is -1, white 1.",
    )
    for label, row in zip(lines, grid, strict=True):
        _against_normal(section, label, names, row)
        _against_pictures(section, label, names, row, own)
    section.heatmap(
        [[p.excess_kurtosis for p in row] for row in grid],
        lines,
        names,
        "Excess kurtosis of the values: 0 for a normal law, negative for lighter tails.",
        decimals=2,
    )
    section.heatmap(
        [[spectral_distance(p.spectrum, own) for p in row] for row in grid],
        lines,
        names,
        "Distance of the spectrum from the pictures' own: half the absolute difference, 0 to 1; white noise: "
        f"{spectral_distance(white_spectrum(side), own):.2f}.",
        decimals=2,
    )


def white_spectrum(side: int) -> Tensor:
    """The spectrum of white noise, measured as the others."""
    from headwater.noise import White

    return portrait(White(), side).spectrum


def _against_normal(section: Section, label: str, names: list[str], row: list[Portrait]) -> None:
    middle = ((row[0].edges[1:] + row[0].edges[:-1]) / 2).tolist()
    lines = {n: (middle, p.density.tolist()) for n, p in zip(names, row, strict=True)}
    lines["normal curve"] = (middle, normal_density(row[0].edges).tolist())
    section.curve(lines, "value / standard deviation", "density", f"{label}: histogram of the values")


def _against_pictures(
    section: Section, label: str, names: list[str], row: list[Portrait], own: Tensor
) -> None:
    cycles = list(range(1, len(own) + 1))
    lines = {n: (cycles, p.spectrum.tolist()) for n, p in zip(names, row, strict=True)}
    lines["pictures"] = (cycles, own.tolist())
    section.curve(
        lines,
        "cycles per picture",
        "share of the power",
        f"{label}: radial spectrum",
        x_axis="log",
        y_axis="log",
    )
