"""Does simplex noise find large lesions that Gaussian noise leaves in place, and does Dice rise, then fall,
with the level that pictures are noised to? (Wyatt et al. 2022, sec. 4)

Pictures: slices of a head that no prior saw, with inserted lesions of two sizes, brighter and darker. Levels
are chosen on every fourth slice, scores come from the three between. Required, beyond chance: on large
lesions, each noise at its own chosen level, simplex beats Gaussian in pixel AUROC and in best Dice; and the
Dice of simplex rises to a maximum inside the sweep and falls from it. The rule was written before any result,
but for the two intervals of the last part, which make it stricter: a first run had its maximum inside by less
than chance moves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from headwater.data import load
from headwater.experiments.comparison import Bound, Condition
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.experiments.page import band, measure_tables
from headwater.methods.anomaly.anoddpm.claim_baselines import (
    Autoencoder,
    AutoencoderBaseline,
    autoencoder_anomalies,
    mean_anomalies,
)
from headwater.methods.anomaly.anoddpm.claim_cases import DEFECTS, Cases, brain_cases, texture_cases
from headwater.methods.anomaly.anoddpm.claim_noise import show_fields
from headwater.methods.anomaly.anoddpm.method import AnoDDPM, Anomalies
from headwater.methods.catalogue import entry
from headwater.metrics.detection import auroc, best_dice, roc_curve
from headwater.models import Prior
from headwater.report import Cell, Heat, Page, Section, Series
from headwater.sampling import Run
from headwater.training import Recipe, train
from headwater.training.pictures import gather
from headwater.training.prior import Learner


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    levels: tuple[int, ...]
    steps: int
    """Most denoising steps."""
    per_group: int
    """Pictures with large lesions per seed; as many with small ones, as many untouched."""
    choosing: int
    """The same for the pictures on which levels are chosen, once for all seeds."""
    reconstructions: int
    autoencoder: AutoencoderBaseline
    latents: tuple[int, ...]
    """Sizes of the autoencoder's bottleneck to choose from, as levels are chosen."""
    slices: int
    """Augmented slices that the autoencoder and the mean are made from."""
    octaves: tuple[int, ...]
    wavelengths: tuple[float, ...]
    """Rows and columns of the figure of simplex fields."""
    training: int = 0
    """Steps of each prior trained in the run; 0 leaves these studies out."""
    studied: tuple[int, ...] = (100, 200, 300, 450, 600)
    """Levels of these studies."""


CHOOSING_SEED = 1_000_003
"""Of the pictures on which levels are chosen; apart from any seed of the scored ones."""
SIMPLEX, GAUSS, AUTOENCODER, MEAN = "simplex", "Gaussian", "autoencoder", "mean slice"
LESIONS, NOISES, TEXTURES = "", "noise laws: ", "textures: "
"""The main question and two studies: prefixes of the names of their measures."""
GROUPS = {LESIONS: ("large", "small"), NOISES: ("large", "small"), TEXTURES: DEFECTS}
SCORES = {"pixel AUROC": auroc, "best Dice": lambda scores, truth: best_dice(scores, truth)[0]}


def noise(kind: str, octaves: int = 4, wavelength: float = 16.0) -> dict[str, Any]:
    """What a recipe says of it."""
    options = {"octaves": octaves, "persistence": 0.8, "wavelength": wavelength}
    return {"noise": kind, "noise_options": options if kind != "white" else {}}


STUDIED = {
    "white": noise("white"),
    "simplex, 8 px": noise("simplex", 3, 8.0),
    "simplex, 16 px": noise("simplex"),
    "simplex, 32 px": noise("simplex", 5, 32.0),
    "power-law, 16 px": noise("power-law"),
}
"""The shortest octave is 2 px in each. power-law is exactly Gaussian with the spectrum of simplex noise."""


# What is measured


def score(measure: str, found: Anomalies, cases: Cases, *groups: str) -> Tensor:
    """A measure of each picture of some groups (every changed one by default), (N,) float64."""
    rows = cases.rows(*groups)
    return torch.tensor([SCORES[measure](found.map[i], cases.truth[i]) for i in rows], dtype=torch.float64)


def dice_at(threshold: float, found: Anomalies, cases: Cases) -> Tensor:
    """Dice of each changed picture at one threshold for all, (N,)."""
    hit, truth = (v[cases.rows()].flatten(1) for v in (found.map >= threshold, cases.truth))
    return 2 * (hit & truth).sum(1) / (hit.sum(1) + truth.sum(1)).clamp(min=1)


def reconstruct(prior: Prior, level: int, steps: int, times: int, cases: Cases, run: Run) -> Anomalies:
    """Noise every picture to a level and denoise it, `times` over."""
    return AnoDDPM(level, min(steps, level), times).apply(prior, cases.image, **run)


def choose(
    prior: Prior, levels: tuple[int, ...], steps: int, cases: Cases, run: Run
) -> tuple[dict[str, int], float]:
    """The level of highest mean Dice for each group, and for "all"; and for that one the threshold of
    highest Dice over the pixels of all changed pictures."""
    at = {t: reconstruct(prior, t, steps, 1, cases, run) for t in levels}
    groups = {g: [g] for g in cases.group if g != "healthy"} | {"all": []}
    dice = {
        (t, g): float(score("best Dice", found, cases, *wanted).mean())
        for t, found in at.items()
        for g, wanted in groups.items()
    }
    chosen = {g: max(levels, key=lambda t: dice[t, g]) for g in groups}
    rows, found = cases.rows(), at[chosen["all"]]
    return chosen, best_dice(found.map[rows], cases.truth[rows])[1]


def examine(
    trial: Trial, study: str, priors: Mapping[str, Prior], cases: Cases, choosing: Cases, settings: Settings
) -> None:
    """Run every prior at all levels; scored at levels that were chosen on other pictures."""
    trial.found.samples[f"{study}cases"] = dict(vars(cases))
    levels, steps = settings.levels, settings.steps
    for arm, prior in priors.items():
        chosen, threshold = trial.once(
            (study, arm), lambda p=prior: choose(p, levels, steps, choosing, trial.run(128, seed=-1))
        )
        at = {t: reconstruct(prior, t, steps, 1, cases, trial.run(128)) for t in levels}
        for t in levels:
            for group in GROUPS[study]:
                values = score("best Dice", at[t], cases, group)
                trial.found.add(f"{study}Dice over level, {group}", arm, values, f"{t}")
        note(trial, study, arm, cases, {g: at[t] for g, t in chosen.items()})
        fixed = dice_at(threshold, at[chosen["all"]], cases)
        trial.found.add(f"{study}Dice at a chosen threshold", arm, fixed)
        trial.found.samples.setdefault("levels", {})[f"{study}{arm}"] = chosen
        if settings.reconstructions > 1:
            many = reconstruct(prior, chosen["all"], steps, settings.reconstructions, cases, trial.run(128))
            note(trial, study, f"{arm}, averaged", cases, dict.fromkeys((*GROUPS[study], "all"), many))


def note(trial: Trial, study: str, arm: str, cases: Cases, by_group: Mapping[str, Anomalies]) -> None:
    """Score what an arm found: each group at the level chosen for it, the rest at the level for all."""
    found, every = trial.found, by_group["all"]
    for measure in SCORES:
        for group in GROUPS[study]:
            found.add(f"{study}{measure}, {group}", arm, score(measure, by_group[group], cases, group))
        found.add(f"{study}{measure}", arm, score(measure, every, cases))
    found.add(f"{study}error on healthy", arm, every.map[cases.rows("healthy")].mean((1, 2, 3)))
    found.samples.setdefault("scores", {})[f"{study}{arm}"] = every.score
    group = GROUPS[study][0]
    found.samples.setdefault("maps", {})[f"{study}{arm}"] = by_group[group].map[cases.rows(group)]
    if trial.index == 0 and "averaged" not in arm:
        found.samples.setdefault("shown", {})[f"{study}{arm}"] = [every.reconstruction, every.map]


def measure(settings: Settings, trial: Trial) -> None:
    """Sweep both priors over the level; in a full run also priors trained here, on heads and on textures."""
    priors = trial.once(
        "priors",
        lambda: {SIMPLEX: Prior.from_pretrained("brain-simplex"), GAUSS: Prior.from_pretrained("brain")},
    )
    side, seed = priors[SIMPLEX].shape[1], trial.seed
    cases = brain_cases(settings.per_group, seed, side=side)
    choosing = brain_cases(settings.choosing, CHOOSING_SEED, choosing=True, side=side)
    examine(trial, LESIONS, priors, cases, choosing, settings)
    for arm, found in baselines(settings, trial, cases, choosing).items():
        note(trial, LESIONS, arm, cases, dict.fromkeys(("large", "small", "all"), found))
    if not settings.training:
        return
    brief = replace(settings, levels=settings.studied, steps=min(10, settings.steps), reconstructions=1)
    own = {name: trained(trial, "brain", name, side, settings.training) for name in STUDIED}
    examine(trial, NOISES, own, cases, choosing, brief)
    half = settings.per_group // 2
    cases = texture_cases(half, seed, side=side)
    choosing = texture_cases(max(3, half // 2), 0, choosing=True, side=side)
    own = {n: trained(trial, "textures", n, side, settings.training) for n in ("simplex, 16 px", "white")}
    examine(trial, TEXTURES, own, cases, choosing, brief)


def trained(trial: Trial, data: str, name: str, side: int, steps: int) -> Prior:
    """A small prior trained from scratch."""
    small = Recipe.load(
        entry("anoddpm").folder / "recipes/prior/small.yaml",
        data=data, shape=(1, side, side), sample_every=0,
        augment=("brain",) if data == "brain" else (), **STUDIED[name],  # one head is few
    )  # fmt: skip
    recipe = replace(small, training=replace(small.training, steps=steps, warmup=steps // 8))

    def fit(run: Run) -> Prior:
        learner = Learner.of(recipe, gather(recipe))
        items, run = len(learner.pictures.images), replace(run, seed=recipe.seed)
        network = train(learner.prior.network, learner.loss, items, recipe.training, run)
        return learner.result(network, 0.0)

    return trial.train(f"{data}, {name}", fit, trainings=1)


def baselines(settings: Settings, trial: Trial, cases: Cases, choosing: Cases) -> dict[str, Anomalies]:
    """An autoencoder trained here, its bottleneck chosen as levels are, and the mean slice of one height."""
    side = cases.image.shape[-1]
    healthy = trial.once(
        "healthy", lambda: load("brain", "mni", side, augmented=settings.slices, seed=trial.seeds[0])
    )

    def fit(run: Run) -> Autoencoder:
        fitted = []
        for latent in settings.latents:
            network = replace(settings.autoencoder, latent=latent).fit(healthy.images, **run)
            found = autoencoder_anomalies(network, choosing.image, run)
            fitted.append((float(score("best Dice", found, choosing).mean()), latent, network))
        return max(fitted, key=lambda f: f[0])[2]

    network = trial.train(AUTOENCODER, fit, trainings=1)
    height = load("brain", "colin", side).meta["z"][cases.row]
    return {
        AUTOENCODER: autoencoder_anomalies(network, cases.image, trial.run()),
        MEAN: mean_anomalies(cases.image, height, healthy.images, healthy.meta["z"], reach=2),
    }


# What must hold


def rule(results: Results[Settings]) -> list[Condition]:
    """The rule at the head of this file."""
    gains = [
        results.compare(f"{m}, {g}", (f"{m}, {g}", SIMPLEX), (f"{m}, {g}", GAUSS), required=g == "large")
        for g in GROUPS[LESIONS]
        for m in SCORES
    ]
    dice, levels = "Dice over level, large", [str(t) for t in results.settings.levels]
    curve = [results.mean(dice, SIMPLEX, t) for t in levels]
    top = levels[curve.index(max(curve))]
    slopes = [
        results.compare(f"Dice of simplex, {n}", (dice, SIMPLEX, top), (dice, SIMPLEX, end), required=False)
        for n, end in (("rise", levels[0]), ("fall", levels[-1]))
    ]
    ends = ", ".join(
        f"{results.mean(dice, SIMPLEX, t):.3f} at level {t}" for t in (levels[0], top, levels[-1])
    )
    what = f"Dice of simplex on large lesions rises, then falls: {ends}"
    return [*gains, *slopes, Bound(what, all(s.better for s in slopes))]


def image_auroc(results: Results[Settings]) -> dict[str, float]:
    """How well the image score tells changed pictures from untouched ones, by study and arm."""
    found = {}
    for name in results.first["scores"]:
        study = next(s for s in (NOISES, TEXTURES, LESIONS) if name.startswith(s))
        truth = torch.cat([c["truth"] for c in results.collect(f"{study}cases")]).flatten(1).any(1)
        found[name] = auroc(torch.cat([s[name] for s in results.collect("scores")]), truth)
    return found


# What is shown


def show(section: Section, results: Results[Settings]) -> None:
    """Pictures, ROC, and Dice over the level."""
    gallery(section, results, LESIONS)
    truth = torch.cat([c["truth"][[g == "large" for g in c["group"]]] for c in results.collect("cases")])
    wanted = torch.linspace(0, 1, 60, dtype=torch.float64).square()
    lines = []
    for arm in (SIMPLEX, GAUSS, AUTOENCODER, MEAN):
        curve = roc_curve(torch.cat([m[arm] for m in results.collect("maps")]), truth)
        at = torch.searchsorted(curve.false_positive_rate, wanted, right=True) - 1
        lines.append(Series(arm, wanted.tolist(), curve.true_positive_rate[at].tolist()))
    caption = "Pixels of all pictures with a large lesion, each noise at the level chosen for large lesions."
    section.curve(lines, "false positive rate", "true positive rate", caption)
    level_curve(section, results, LESIONS, GROUPS[LESIONS])
    section.table(
        ["arm", "image AUROC"],
        [[k, v] for k, v in image_auroc(results).items() if ": " not in k],
        "How well the highest hundredth of the map tells changed pictures from untouched ones.",
        {"image AUROC": "max"},
    )


def gallery(section: Section, results: Results[Settings], study: str) -> None:
    """Picture, reconstruction and map of each arm, truth; a few pictures of each group."""
    cases, shown = results.first[f"{study}cases"], results.first["shown"]
    own = [k for k in shown if (k.startswith(study) if study else ": " not in k)]
    arms = {k.removeprefix(study): shown[k] for k in own}
    rows: list[list[Cell]] = []
    labels = []
    for group in dict.fromkeys(cases["group"]):
        for i in [i for i, g in enumerate(cases["group"]) if g == group][: 3 if group == "large" else 2]:
            line: list[Cell] = [cases["image"][i]]
            for image, error in arms.values():
                line += [image[i].clamp(-1, 1), Heat(error[i], high=0.5)]
            rows.append([*line, cases["truth"][i]])
            labels.append(cases["label"][i])
    columns = [f"{what}, {arm}" for arm in arms for what in ("reconstruction", "error")]
    section.pictures(
        ["picture", *columns, "truth"],
        rows,
        labels,
        caption="Error: squared difference, brightest at 0.5, the paper's fixed threshold; pictures lie in "
        "[-1, 1]. First seed.",
    )


def level_curve(section: Section, results: Results[Settings], study: str, groups: tuple[str, ...]) -> None:
    """Dice over the level for each arm and group, with 95 % bootstrap bands over pictures."""
    arms = results.arms(f"{study}Dice over level, {groups[0]}")
    levels = results.cases(f"{study}Dice over level, {groups[0]}", arms[0])
    lines = [
        band(f"{arm}, {g}", levels, [results.rows(f"{study}Dice over level, {g}", arm, t)[0] for t in levels])
        for arm in arms
        for g in groups
    ]
    chosen = [
        f"for {arm} " + ", ".join(f"{results.first['levels'][study + arm][g]} ({g})" for g in groups)
        for arm in arms
    ]
    section.curve(
        lines,
        "level lambda",
        "best-threshold Dice",
        f"All levels on the scored pictures: not chosen from. Chosen on other pictures: {'; '.join(chosen)}.",
    )


def more(page: Page, results: Results[Settings]) -> None:
    """The noise by itself, and the studies that train their own priors."""
    settings, side = results.settings, results.first["cases"]["image"].shape[-1]
    show_fields(page, settings.octaves, settings.wavelengths, load("brain", "mni", side).images)
    if not settings.training:
        return
    for study, title, lead in (
        (NOISES, "Noise laws at equal training", "Slices of heads; five priors."),
        (TEXTURES, "Defects in textures", "Held-out halves of three textures; two priors."),
    ):
        trained = f"{lead} {settings.training} training steps each in this run: compare within."
        section = page.section(title, trained)
        gallery(section, results, study)
        for group in GROUPS[study]:
            level_curve(section, results, study, (group,))
        measure_tables(section, results, measures(study))


def measures(study: str) -> dict[str, Measure]:
    """What is tabled of a study."""
    about = "Each noise at the level chosen for the group; best Dice: at each picture's own best threshold."
    healthy = Measure("smaller", "At the level chosen for all lesions.")
    tabled = {f"{study}{m}, {g}": Measure("larger", about) for g in GROUPS[study] for m in SCORES}
    return tabled | {f"{study}error on healthy": healthy}


CLAIM = Claim(
    "anoddpm",
    "Lesions found: AnoDDPM",
    "Slices of a head that no prior saw, with inserted lesions; each is noised part of the way, denoised by "
    "a prior of healthy heads, and compared with itself.",
    unit="picture",
    tiny=Settings(
        (100, 200), 2, 2, 2, 2, AutoencoderBaseline(steps=3, batch=4), (4, 8), 104, (1, 2), (4, 8), 1, (100,)
    ),
    quick=Settings(
        (50, 150, 250, 400, 600), 10, 6, 6, 3, AutoencoderBaseline(150), (64,), 1024, (1, 4), (4, 16, 32)
    ),
    full=Settings(
        tuple(range(50, 650, 50)), 15, 18, 12, 5, AutoencoderBaseline(800), (16, 64, 256), 8192,
        (1, 2, 4, 6), (4, 8, 16, 32), training=250,
    ),
    measures=measures(LESIONS) | {"Dice over level, large": Measure("larger", tabled=False)},
    measure=measure,
    rule=rule,
    show=show,
    more=more,
    extra=lambda results: {"chosen levels": results.first["levels"], "image AUROC": image_auroc(results)},
    new_units=True,
)  # fmt: skip
