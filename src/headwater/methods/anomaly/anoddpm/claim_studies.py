"""Studies that train priors in the run: noise laws at equal training, and textures. Full effort only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from headwater.experiments.base import Task
from headwater.methods.anomaly.anoddpm import claim_page as report
from headwater.methods.anomaly.anoddpm.claim_arms import Arm, Sweep
from headwater.methods.anomaly.anoddpm.claim_cases import Cases, texture_cases
from headwater.methods.catalogue import entry
from headwater.models import Prior
from headwater.training import Recipe, fit

Options = dict[str, int | float | str]
_SHAPE: Options = {"octaves": 4, "persistence": 0.8}
LAWS: dict[str, tuple[str, Options]] = {
    "white": ("white", {}),
    "simplex, 8 px": ("simplex", {**_SHAPE, "octaves": 3, "wavelength": 8.0}),
    "simplex, 16 px": ("simplex", {**_SHAPE, "wavelength": 16.0}),
    "simplex, 32 px": ("simplex", {**_SHAPE, "octaves": 5, "wavelength": 32.0}),
    "power-law, 16 px": ("power-law", {**_SHAPE, "wavelength": 16.0}),
}
"""The shortest octave is 2 px in each. power-law is exactly Gaussian with the spectrum of simplex noise."""


def trained(data: str, law: tuple[str, Options], side: int, steps: int, progress: bool) -> Prior:
    """A small prior trained from scratch and kept in memory only."""
    with TemporaryDirectory() as folder:
        shape = (1, side, side)
        noise, options = law
        augment = ("brain",) if data == "brain" else ()  # one head is few
        small = Recipe.load(
            entry("anoddpm").folder / "recipes/prior/small.yaml",
            data=data, augment=augment, shape=shape, noise=noise, noise_options=options, sample_every=0,
        )  # fmt: skip
        training = replace(small.training, steps=steps, warmup=steps // 8)
        return fit(replace(small, training=training), Path(folder) / "prior", progress=progress)


def noise_laws(
    task: Task, sweep: Sweep, steps: int, scored: Sequence[Cases], choosing: Cases
) -> dict[str, Any]:
    """White, simplex of three starting wavelengths and power-law noise, each prior trained as long."""
    side = choosing.image.shape[-1]
    arms = {
        name: sweep.examine(trained("brain", law, side, steps, task.progress), scored, choosing)
        for name, law in LAWS.items()
    }
    section = task.page.section(
        "Noise laws at equal training",
        f"Five priors, {steps} steps each in this run: less than the shipped ones, so compare within.",
    )
    report.gallery(section, {n: a.at("all") for n, a in arms.items()})
    report.sweep_curve(section, arms, ("large",))
    report.sweep_curve(section, arms, ("small",))
    report.table(section, arms, {})
    return summary(arms)


def textures(task: Task, sweep: Sweep, steps: int, per_group: int, side: int) -> dict[str, Any]:
    """Simplex and white noise on brick, grass and gravel: one half of each for training, one for tests."""
    scored = [texture_cases(per_group, seed, side=side) for seed in task.seeds]
    choosing = texture_cases(max(3, per_group // 2), 0, choosing=True, side=side)
    arms = {
        name: sweep.examine(trained("textures", LAWS[name], side, steps, task.progress), scored, choosing)
        for name in ("simplex, 16 px", "white")
    }
    section = task.page.section(
        "Defects in textures", f"Held-out halves of three textures; two priors trained {steps} steps each."
    )
    groups = [g for g in dict.fromkeys(choosing.group) if g != "healthy"]
    report.gallery(section, {n: a.at("all") for n, a in arms.items()})
    report.sweep_curve(section, arms, groups)
    report.table(section, arms, {})
    return summary(arms)


def summary(arms: dict[str, Arm]) -> dict[str, Any]:
    """Chosen levels, and AUROC and Dice of each group at them."""
    found: dict[str, Any] = {}
    for name, arm in arms.items():
        groups = [g for g in arm.chosen if g != "all"]
        measured = {f"{m}, {g}": arm.at(g).mean(m, g) for g in groups for m in ("auroc", "dice")}
        found[name] = {"levels": arm.chosen, **measured, "image AUROC": arm.at("all").image_auroc}
    return found
