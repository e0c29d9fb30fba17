"""Does purification withstand attackers who know of it, and for which noise? (Nie et al. 2022, sec. 5)

A classifier and a prior are trained for each seed. The radius of the attack is the smallest that breaks the
bare classifier, the level of the noise the one that withstands most, both on training pictures. Required on
test pictures, beyond chance, seeds averaged: what is left in the worst case of all attacks rises with the
level, then falls, while clean accuracy falls; purification helps against an attack on the classifier alone;
attackers who know more break more (BPDA, then exact gradients); and the SDE withstands more than the ODE.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn

from headwater.attacks import PGD, Attack, Report, Threat, suite, usual_attacks
from headwater.attacks.report import CLEAN, KNOWN, WORST
from headwater.core import Denoiser
from headwater.data import load
from headwater.experiments.comparison import Comparison
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.experiments.page import share
from headwater.methods.robustness.diffpure.method import DiffPure, OnUnitRange, Purified
from headwater.metrics.classifier import train_classifier
from headwater.models import Prior, PriorConfig, ProcessConfig
from headwater.nets.perceptron import Perceptron
from headwater.noise import derive, seeds
from headwater.report import Cell, Section, Series, Signed
from headwater.sampling import Run
from headwater.training import TrainerConfig, train
from headwater.training.timesteps import stratified

Kind = Literal["sde", "ode"]
Norm = Literal["linf", "l2"]
RADII: dict[Norm, tuple[float, ...]] = {
    "linf": (0.05, 0.1, 0.15, 0.2, 0.25, 0.3),
    "l2": (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0),
}
BROKEN = 0.1
"""The radius is the smallest that leaves the bare classifier no more than this on training pictures."""
NAIVE, BLIND, EXACT = "classifier only", "BPDA + EOT", "exact gradient + EOT"
APGD_EXACT, NOISE_KNOWN = "exact APGD + EOT", f"({KNOWN})"
BARE, SDE, ODE = "no purifier", "DiffPure, SDE", "DiffPure, ODE"
Labelled = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    pictures: int
    """Test pictures, the same for every seed."""
    tuning: int
    """Training pictures on which radius and level are chosen."""
    levels: tuple[int, ...]
    steps: int
    """Gradients per attack."""
    draws: int
    """Draws of the noise per gradient."""
    votes: int
    epochs: int
    """Of the classifier."""
    prior_steps: int
    l2: bool = False
    method: DiffPure = field(default_factory=lambda: DiffPure(steps=10))
    """Ten steps of ten thousandths: exact gradients through a hundred would cost ten times as much."""


# What is trained anew for each seed


def train_prior(pictures: Tensor, seed: int, steps: int, progress: bool) -> Prior:
    """A prior of pictures (N, C, H, W) in [-1, 1], with the chain of Ho et al. 2020 and a v target."""
    shape = cast("tuple[int, int, int]", tuple(pictures.shape[1:]))
    config = PriorConfig({"kind": "perceptron"}, shape, ProcessConfig(), predicts="v")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, 1))
        network = Perceptron(pictures[0].numel())
    how = TrainerConfig(steps, 128, 2e-3, warmup=100, decay="cosine", ema=0.99)
    q = config.process.build()

    def loss(net: nn.Module, rows: Tensor, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(derive(seed, 2, number))
        x0 = pictures[rows]
        t = stratified(len(rows), q.T, torch.rand(len(rows), generator=generator) / len(rows))
        eps = torch.randn(x0.shape, generator=generator)
        return Denoiser(net, q, "v").loss(x0, t, eps).mean()

    return Prior(train(network, loss, len(pictures), how, Run(seed, progress=progress)), config)


@dataclass(frozen=True)
class Models:
    """A classifier of pictures in [0, 1], and the prior of its purifier."""

    settings: Settings
    trial: Trial
    seed: int
    classifier: nn.Module
    prior: Prior

    def purified(self, level: int, kind: Kind = "sde") -> Purified:
        """The defended classifier."""
        method = self.settings.method
        method = replace(method, level=level, steps=min(method.steps, level), kind=kind)
        return Purified(self.classifier, self.prior, method, seed=self.seed).eval()

    def attacked(
        self, model: nn.Module, pictures: Labelled, threat: Threat,
        against: Mapping[str, Attack] | None = None, known: int = 0,
    ) -> Report:  # fmt: skip
        """What is left of the classifier, bare or defended."""
        run = replace(self.trial.run(64), seed=self.seed)
        return suite(model, *pictures, threat, against, self.settings.votes, known, **run)


# What is measured


def attacks(settings: Settings, defended: Purified) -> dict[str, Attack]:
    """The usual ones, all but the last as PGD with the same steps, so that only what they know differs."""
    usual = usual_attacks(defended, settings.steps, settings.draws)
    return usual | {NAIVE: PGD(settings.steps, 1, "classifier")}


def sweep_attacks(settings: Settings) -> dict[str, Attack]:
    """What each level faces: half the gradients and draws, or the curve would cost more than the rest."""
    return {
        NAIVE: PGD(settings.steps, 1, "classifier"),
        EXACT: PGD(max(settings.steps // 2, 1), max(settings.draws // 2, 1)),
    }


def first_pictures(split: str, n: int) -> Labelled:
    """n pictures in [0, 1] and their classes, in one order for all seeds."""
    data = load("tiny", split)
    order = torch.randperm(len(data.images), generator=torch.Generator().manual_seed(0))[:n]
    return (data.images[order] + 1) / 2, cast(Tensor, data.labels)[order]


def prepare(settings: Settings, trial: Trial) -> tuple[list[Models], dict[Norm, Threat], int]:
    """The models of all seeds, the radius for each norm and the level, chosen on training pictures."""
    data, tune, models = load("tiny", "train"), first_pictures("train", settings.tuning), list[Models]()
    for seed in trial.seeds:
        target = train_classifier(data.images, cast(Tensor, data.labels), seed, settings.epochs)
        prior = train_prior(data.images, seed, settings.prior_steps, trial.progress)
        models.append(Models(settings, trial, seed, OnUnitRange(target).eval(), prior))

    def radius(norm: Norm) -> Threat:
        """The smallest radius at which every seed's bare classifier breaks."""
        for eps in RADII[norm]:
            threat, exact = Threat(norm, eps), {"exact PGD": PGD(20)}
            left = [m.attacked(m.classifier, tune, threat, exact).worst.double().mean() for m in models]
            if max(left) <= BROKEN:
                return threat
        return Threat(norm, RADII[norm][-1])

    norms: tuple[Norm, ...] = ("linf", "l2") if settings.l2 else ("linf",)
    threats: dict[Norm, Threat] = {norm: radius(norm) for norm in norms}

    def score(level: int) -> float:
        against = sweep_attacks(settings)
        left = [m.attacked(m.purified(level), tune, threats["linf"], against).worst for m in models]
        return float(torch.stack(left).double().mean())

    inner = settings.levels[1:-1]
    return models, threats, max(inner, key=score) if len(inner) > 1 else next(iter(inner))


def measure(settings: Settings, trial: Trial) -> None:
    """Attack this seed's models on test pictures."""
    every, threats, level = trial.once("models", lambda: prepare(settings, trial))
    models, pictures = every[trial.index], first_pictures("test", settings.pictures)
    defended, samples = models.purified(level), trial.found.samples
    strong = attacks(settings, defended)
    samples |= {"threat": str(threats["linf"]), "level": level, "reports": {}}

    def attack(
        arm: str, model: nn.Module, norm: Norm = "linf", against: Mapping[str, Attack] | None = None,
        known: int = 0, case: str = "",
    ) -> None:  # fmt: skip
        report = models.attacked(model, pictures, threats[norm], against, known)
        for name, held in report.by_name.items():
            trial.found.add(f"{NOISE_KNOWN if name == KNOWN else name}{case}", arm, held)
        samples["reports"][f"{arm}{case}"] = report.to_dict()

    attack(BARE, models.classifier)
    attack(SDE, defended, "linf", strong, settings.steps)
    attack(ODE, models.purified(level, "ode"), "linf", strong, settings.steps)
    if settings.l2:
        attack(f"{BARE}, L2", models.classifier, "l2")
        attack(f"{SDE}, L2", models.purified(level), "l2", strong)
    for at in settings.levels:
        attack(SDE, models.purified(at), "linf", sweep_attacks(settings), case=f" at level {at}")
    if trial.index == 0:
        draw(trial.section, models, level, threats["linf"], strong[EXACT], pictures)


@torch.no_grad()
def draw(
    section: Section, models: Models, level: int, threat: Threat, attack: Attack, pictures: Labelled
) -> None:
    """The first pictures: clean, attacked by one who knows the purifier, the attack, purified; and what the
    classifier calls each."""
    x, y, own = pictures[0][:6], pictures[1][:6], seeds(0, 77, n=min(6, len(pictures[0])))
    purified = models.purified(level)
    hostile = attack.perturb(purified, threat, x, y, own)[-1]
    stages = [x, hostile, purified.purified(hostile, own), purified.purified(x, own)]
    cells: list[list[Cell]] = [[2 * image - 1 for image in stage] for stage in stages]
    called = [[f"seen as {c}" for c in models.classifier(stage).argmax(1).tolist()] for stage in stages]
    cells.insert(2, [Signed(difference, threat.eps) for difference in hostile - x])
    called.insert(2, [""] * len(x))
    section.pictures(
        ["picture", "attacked", "attack", "purified", "purified picture"],
        list(zip(*cells, strict=True)),
        [f"a {digit}" for digit in y.tolist()],
        list(zip(*called, strict=True)),
        f"Attack by exact gradients through the purifier at level {level}, {threat}. It aims at the purified "
        "picture (fourth column), not at what the bare classifier sees.",
    )


def rule(results: Results[Settings]) -> list[Comparison]:
    """What the claim asks for, picture by picture, seeds averaged; larger means more still right."""
    level = results.first["level"]
    low, high = min(results.settings.levels), max(results.settings.levels)

    def at(measure: str, level: int) -> tuple[str, str]:
        return f"{measure} at level {level}", SDE

    return [
        results.compare(what, ours, other)
        for what, ours, other in (
            (f"robust at {level}, against {low}: it rises", at(WORST, level), at(WORST, low)),
            (f"robust at {level}, against {high}: it falls", at(WORST, level), at(WORST, high)),
            (f"clean at {low}, against {high}: it falls", at(CLEAN, low), at(CLEAN, high)),
            ("purified under a classifier-only attack, against the bare classifier",
             (NAIVE, SDE), (WORST, BARE)),
            ("left by a classifier-only attack, against BPDA + EOT", (NAIVE, SDE), (BLIND, SDE)),
            ("left by BPDA + EOT, against exact gradients + EOT", (BLIND, SDE), (EXACT, SDE)),
            ("SDE, worst case, against ODE", (WORST, SDE), (WORST, ODE)),
        )
    ]  # fmt: skip


def show(section: Section, results: Results[Settings]) -> None:
    """The curve over levels, and the strongest attack on every arm."""
    first, levels, votes = results.first, results.settings.levels, results.settings.votes
    lines = []
    for name, measure in (("no attack", CLEAN), ("worst case", WORST)):
        found = [share(results, f"{measure} at level {t}", SDE) for t in levels]
        low, mean, high = zip(*((s.low, s.mean, s.high) for s in found), strict=True)
        lines.append(Series(name, levels, mean, low, high))
    section.curve(
        lines,
        x="level t* (of 1,000)",
        y="share still right",
        caption="More noise washes out more of the attack, then of the digit. Worst case of "
        f"{len(sweep_attacks(results.settings))} attacks; all attacks at full length leave "
        f"{results.mean(WORST, SDE):.3f} at level {first['level']}. Bands: Wilson 95 %.",
    )
    arms = {arm: report for arm, report in first["reports"].items() if " at level " not in arm}
    section.table(
        ["arm", "threat", "strongest single attack", "still right under it", "worst case of all"],
        [
            [arm, r["threat"], r["strongest"], *(share(results, m, arm) for m in (r["strongest"], WORST))]
            for arm, r in arms.items()
        ],
        f"{results.settings.pictures} pictures; a purified one is right if its class wins strictly most of "
        f"{votes} votes with fresh noise, for every candidate of an attack. Strongest: with the first seed.",
    )
    for arm in arms:
        for warning in sorted(
            {w for reports in results.collect("reports") for w in reports[arm]["warnings"]}
        ):
            section.note(f"{arm}: {warning}.")


TABLED = (WORST, CLEAN, NAIVE, BLIND, EXACT, APGD_EXACT, NOISE_KNOWN, *usual_attacks(nn.Identity()))
QUICK = Settings(32, 32, (25, 100, 300), 8, 4, 5, 8, 1000)
FULL = Settings(128, 64, (25, 50, 100, 150, 200, 300), 20, 16, 10, 20, 3000, l2=True)
SWEPT = [f"{m} at level {t}" for m in (WORST, CLEAN) for t in {*QUICK.levels, *FULL.levels}]
CLAIM = Claim(
    "diffpure",
    "Attacks washed out: DiffPure",
    "A classifier of 8 x 8 digits behind a purifier that it knows nothing of, attacked by those who do.",
    unit="picture",
    tiny=Settings(4, 4, (25, 50, 200), 2, 2, 2, 1, 20, l2=True),
    quick=QUICK,
    full=FULL,
    measures={m: Measure("larger", "What is still right.", share=True) for m in TABLED}
    | {m: Measure("larger", tabled=False, share=True) for m in SWEPT},
    measure=measure,
    rule=rule,
    show=show,
    extra=lambda results: {
        "threat": results.first["threat"],
        "level": results.first["level"],
        "reports": results.collect("reports"),
    },
    quick_seeds=1,
)
