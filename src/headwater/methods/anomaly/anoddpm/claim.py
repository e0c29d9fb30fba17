"""Does simplex noise find large lesions that Gaussian noise leaves in place, and does Dice rise, then fall,
with the level that pictures are noised to? (Wyatt et al. 2022, sec. 4)

Pictures: slices of a head that no prior saw, with inserted lesions of two sizes, brighter and darker. Levels
are chosen on every fourth slice, scores come from the three between. The rule:

    held      on large lesions, each noise at its own chosen level, simplex beats Gaussian in pixel AUROC and
              in best Dice, both 95 % bootstrap intervals of the paired difference lying above 0, and the
              Dice of simplex over the level rises to a maximum inside the sweep and falls from it, each by
              more than its own interval
    partly    some of these three
    not held  none

It was written before any result, but for the two intervals of the third part, which make it stricter: a first
run had its maximum inside by less than chance moves it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from headwater.baselines.anomaly import AutoencoderBaseline, autoencoder_anomalies, mean_anomalies
from headwater.data import load
from headwater.experiments.base import Outcome, Task
from headwater.experiments.comparison import Comparison, compare, verdict
from headwater.methods.anomaly.anoddpm import claim_page as report
from headwater.methods.anomaly.anoddpm.claim_arms import Arm, Judged, Sweep
from headwater.methods.anomaly.anoddpm.claim_cases import Cases, brain_cases
from headwater.methods.anomaly.anoddpm.method import AnoDDPM
from headwater.models import Prior
from headwater.nets.autoencoder import AutoencoderConfig
from headwater.sampling import Run


@dataclass(frozen=True)
class Setting:
    """How much is computed."""

    levels: tuple[int, ...]
    steps: int
    """Most steps of a walk back."""
    per_group: int
    """Pictures with large lesions per seed; as many with small ones, as many untouched."""
    choosing: int
    """The same for the pictures on which levels are chosen, once for all seeds."""
    reconstructions: int
    autoencoder: AutoencoderBaseline
    latents: tuple[int, ...]
    """Sizes of the autoencoder's bottleneck to choose from, as levels are chosen."""
    slices: int
    """Augmented slices that the autoencoder and the mean see."""
    octaves: tuple[int, ...]
    wavelengths: tuple[float, ...]
    """Rows and columns of the figure of simplex fields."""
    training: int
    """Steps of each prior trained in the run; 0 leaves these studies out."""


QUICK = Setting(
    levels=(50, 150, 250, 400, 600),
    steps=10,
    per_group=6,
    choosing=6,
    reconstructions=3,
    autoencoder=AutoencoderBaseline(steps=150),
    latents=(64,),
    slices=1024,
    octaves=(1, 4),
    wavelengths=(4.0, 16.0, 32.0),
    training=0,
)
FULL = Setting(
    levels=(50, 100, 150, 200, 250, 300, 350, 400, 450, 500, 550, 600),
    steps=15,
    per_group=18,
    choosing=12,
    reconstructions=5,
    autoencoder=AutoencoderBaseline(steps=800),
    latents=(16, 64, 256),
    slices=8192,
    octaves=(1, 2, 4, 6),
    wavelengths=(4.0, 8.0, 16.0, 32.0),
    training=250,
)
STUDIED = (100, 200, 300, 450, 600)
"""Levels of the studies that train their own priors."""
CHOOSING_SEED = 1_000_003
"""Of the pictures on which levels are chosen; apart from any seed of the scored ones."""
SIMPLEX, GAUSS = "simplex", "Gaussian"
AUTOENCODER, MEAN = "autoencoder", "mean slice"
_MEASURES = {"auroc": "pixel AUROC", "dice": "best Dice"}


def reproduce(task: Task) -> Outcome:
    """Sweep both priors over the level, compare at each one's own chosen level, and report."""
    setting = QUICK if task.effort == "quick" else FULL
    priors = {SIMPLEX: Prior.from_pretrained("brain-simplex"), GAUSS: Prior.from_pretrained("brain")}
    side = priors[SIMPLEX].shape[1]
    scored = [brain_cases(setting.per_group, seed, side=side) for seed in task.seeds]
    choosing = brain_cases(setting.choosing, CHOOSING_SEED, choosing=True, side=side)
    sweep = Sweep(setting.levels, setting.steps, setting.reconstructions, task.seeds, task.progress)
    arms = {name: sweep.examine(prior, scored, choosing) for name, prior in priors.items()}
    others = baselines(setting, Cases.join(scored), choosing, Run(task.seeds[0], progress=task.progress))
    outcome = conclude(arms, others, setting, task)
    section = report.lesions(task.page, arms, others)
    section.settings(outcome.settings)
    section.claim(outcome.claim, outcome.measured, outcome.verdict)
    report.noise(task.page, setting.octaves, setting.wavelengths, load("brain", "mni", side).images)
    if setting.training:
        from headwater.methods.anomaly.anoddpm.claim_studies import noise_laws, textures

        brief = replace(sweep, levels=STUDIED, steps=min(10, setting.steps), reconstructions=1)
        outcome.metrics["noise laws"] = noise_laws(task, brief, setting.training, scored, choosing)
        outcome.metrics["textures"] = textures(task, brief, setting.training, setting.per_group // 2, side)
    return outcome


def baselines(setting: Setting, scored: Cases, choosing: Cases, run: Run) -> dict[str, Judged]:
    """An autoencoder trained here, its bottleneck chosen as levels are, and the mean slice of one height."""
    side = scored.image.shape[-1]
    healthy = load("brain", "mni", side, augmented=setting.slices, seed=run.seed)
    fitted = []
    for latent in setting.latents:
        config = AutoencoderConfig(side=side, latent=latent)
        network = replace(setting.autoencoder, network=config).fit(healthy.images, **run)
        choice = Judged(choosing, autoencoder_anomalies(network, choosing.image, **run))
        fitted.append((choice.mean("dice"), latent, network))
    network = max(fitted, key=lambda f: f[0])[2]
    mean = mean_anomalies(scored.image, scored.place, healthy.images, healthy.meta["z"], reach=2)
    return {
        AUTOENCODER: Judged(scored, autoencoder_anomalies(network, scored.image, **run)),
        MEAN: Judged(scored, mean),
    }


def gain(ours: Judged, other: Judged, measure: str, group: str) -> Comparison:
    """One set of maps against another, over the pictures of a group."""
    rows = ours.cases.rows(group)
    mine, theirs = (getattr(judged, measure)[rows].numpy() for judged in (ours, other))
    return compare(f"{_MEASURES[measure]}, {group}", mine, theirs, "larger", "picture")


def conclude(arms: dict[str, Arm], others: dict[str, Judged], setting: Setting, task: Task) -> Outcome:
    """The figures, and the verdict by the rule at the head of this file."""
    simplex, gauss = arms[SIMPLEX], arms[GAUSS]
    curve = {n: [a.scored[t].mean("dice", "large") for t in setting.levels] for n, a in arms.items()}
    peak = int(torch.tensor(curve[SIMPLEX]).argmax())
    gains = {
        group: {m: gain(simplex.at(group), gauss.at(group), m, group) for m in ("auroc", "dice")}
        for group in ("large", "small")
    }
    first, top, last = (simplex.scored[setting.levels[i]] for i in (0, peak, -1))
    slopes = {n: gain(top, end, "dice", "large") for n, end in (("rise", first), ("fall", last))}
    parts = {
        "pixel AUROC, large": gains["large"]["auroc"].better,
        "best Dice, large": gains["large"]["dice"].better,
        "Dice rises, then falls": all(v.better for v in slopes.values()),
    }
    measured = "simplex minus Gaussian: " + "; ".join(str(v) for g in gains.values() for v in g.values())
    ends = curve[SIMPLEX][0], curve[SIMPLEX][peak], curve[SIMPLEX][-1]
    measured += (
        f"; Dice of simplex on large lesions {ends[0]:.3f} at level {setting.levels[0]}, "
        f"{ends[1]:.3f} at {setting.levels[peak]}, {ends[2]:.3f} at {setting.levels[-1]} "
        f"(rise {_signed(slopes['rise'])}, fall {_signed(slopes['fall'])})."
    )
    metrics: dict[str, Any] = {
        "parts": parts,
        "gain": {g: {m: v.to_dict() for m, v in found.items()} for g, found in gains.items()},
        "dice of simplex at its peak minus the ends": {n: v.to_dict() for n, v in slopes.items()},
        "chosen levels": {n: a.chosen for n, a in arms.items()},
        "dice over level, large": {
            n: dict(zip(map(str, setting.levels), c, strict=True)) for n, c in curve.items()
        },
        "arms": {n: figures(a) for n, a in arms.items()} | {n: scores(j) for n, j in others.items()},
    }
    settings = {"effort": task.effort, "seeds": list(task.seeds), "priors": ["brain-simplex", "brain"]}
    kept = ("levels", "steps", "per_group", "choosing", "reconstructions", "slices", "training")
    settings |= {k: v for k, v in asdict(setting).items() if k in kept}
    return Outcome("anoddpm", AnoDDPM.paper.claim, measured, verdict(list(parts.values())), metrics, settings)


def figures(arm: Arm) -> dict[str, float]:
    """One arm in numbers: each group at the level chosen for it, the rest at the level for all."""
    found = scores(arm.at("all"))
    for group in (g for g in arm.chosen if g != "all"):
        found[f"pixel AUROC, {group}"] = arm.at(group).mean("auroc", group)
        found[f"best Dice, {group}"] = arm.at(group).mean("dice", group)
    many = arm.averaged
    return found | {
        "Dice, threshold from the choosing pictures": arm.dice_at_chosen_threshold,
        "pixel AUROC, averaged": many.mean("auroc"),
        "best Dice, averaged": many.mean("dice"),
    }


def scores(judged: Judged) -> dict[str, float]:
    """One set of maps in numbers."""
    groups = dict.fromkeys(g for g in judged.cases.group if g != "healthy")
    found = {f"pixel AUROC, {g}": judged.mean("auroc", g) for g in groups}
    found |= {f"best Dice, {g}": judged.mean("dice", g) for g in groups}
    return found | {
        "pixel AUROC": judged.mean("auroc"),
        "best Dice": judged.mean("dice"),
        "image AUROC": judged.image_auroc,
        "error on healthy": judged.healthy_error,
    }


def _signed(value: Comparison) -> str:
    return f"{value.mean:+.3f} [{value.low:+.3f}, {value.high:+.3f}]"
