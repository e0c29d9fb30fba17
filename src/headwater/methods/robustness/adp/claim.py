"""Do a few steps whose length the picture sets withstand attackers who know of them, better than as many
network calls spent otherwise, and do more purifications help? (Yoon et al. 2021, sec. 5)

For each seed a classifier, a network of the paper's kind (of noise from 0.01 to 1, which it is not told), and
a prior of the usual kind are trained on the same digits. The radius of the attack is the smallest that leaves
the bare classifier 10 % on training pictures. On those are chosen, by the worst case of two attacks: the
noise of ADP, the length of fixed steps along the same network from the same noise, and the noise of DiffPure
with the usual prior. All three have 20 network calls; nothing else of ADP differs from the paper. Required on
test pictures, beyond chance, seeds averaged. In the worst case of all attacks ADP leaves more than the bare
classifier, than fixed steps and than DiffPure. In the worst case of two attacks 5 of its steps leave no more
than 3 points less than 10, and without noise it leaves less than with. And where exact gradients attack it,
the mean answer of ten purifications is right more often than that of one. Written before any result. A quick
run left nothing of any purifier in the worst case; the paper's own strongest attack, BPDA + EOT, and half the
radius were then put beside, and the rule stayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from headwater.attacks import Attack, Threat
from headwater.attacks.report import BLIND, EXACT, WORST
from headwater.core import Gaussian, Prediction, Sampler
from headwater.core.sampler import State
from headwater.core.transition import Transition
from headwater.experiments.comparison import Comparison
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.methods.robustness.adp.method import ADP
from headwater.methods.robustness.diffpure.method import DiffPure
from headwater.methods.robustness.shared import claims
from headwater.methods.robustness.shared.purifies import Purified
from headwater.models import Prior, ProcessConfig
from headwater.noise import derive, seeds
from headwater.report import Section

OURS, FIXED, OTHER = "ADP", "fixed steps", "DiffPure"
BY_STEPS, BY_NOISE = "worst of two attacks, by steps", "worst of two attacks, by noise"
GENTLE = "worst of two attacks, half the radius"
BY_DRAWS = "right under exact gradients, by purifications"
NCSN = ProcessConfig("ve", T=232, low=0.02, high=2.0, unit_labels=True)
"""Noise of 0.01 to 1 for pictures in [0, 1], at as many levels as in the paper."""
DRAWS = (1, 2, 5, 10)
FEW, ALLOWED = 5, 0.03


@dataclass(frozen=True)
class FixedSteps(ADP):
    """Steps of one length, which need no probe: twice as many in as many network calls."""

    length: float = 0.0125

    def sampler(self, prior: Prior) -> Sampler:
        return Along(self.length)


@dataclass(frozen=True)
class Along(Sampler):
    """A move of a given length along minus the noise."""

    length: float

    def step(self, q: Any, pred: Prediction, s: int, state: State = None) -> tuple[Transition, State]:
        return Gaussian((pred.x - self.length * pred.eps).clamp(0, 1), 0.0), None


@dataclass(frozen=True, kw_only=True)
class Settings(claims.Settings):
    """How much is computed."""

    sigmas: tuple[float, ...]
    """Standard deviations of noise for pictures in [0, 1], none first."""
    shares: tuple[float, ...]
    """Of the noise, that fixed steps go in all."""
    by_steps: tuple[int, ...]
    """Numbers of steps, that of `method` last."""
    repeats: int
    """Sets of ten purifications whose answers are averaged."""
    method: ADP = field(default_factory=ADP)

    @property
    def calls(self) -> int:
        """Network calls of every purifier."""
        return 2 * self.method.steps


@dataclass(frozen=True)
class Chosen:
    """What all seeds share."""

    models: list[claims.Models]
    """With the usual prior."""
    networks: list[claims.Models]
    """With the network of the paper's kind."""
    threat: Threat
    purifiers: dict[str, ADP | DiffPure]


@dataclass
class Kept:
    """An attack that remembers the candidate with the largest loss."""

    inner: Attack
    found: list[Tensor] = field(default_factory=list)

    def perturb(
        self, model: nn.Module, threat: Threat, images: Tensor, labels: Tensor, seeds: Sequence[int]
    ) -> list[Tensor]:
        candidates = self.inner.perturb(model, threat, images, labels, seeds)
        self.found.append(candidates[-1])
        return candidates


def prepare(settings: Settings, trial: Trial) -> Chosen:
    """The models of all seeds; radius, noise and lengths, chosen on training pictures."""
    tune, models = settings.tuned_on, claims.trained(settings, trial)
    source, steps = settings.source, settings.prior_steps
    networks = [replace(m, prior=source.prior(m.seed, steps, trial.progress, NCSN, "eps")) for m in models]
    threat, q = claims.breaking(models, tune, "linf"), models[0].prior.process

    def best(these: list[claims.Models], purifiers: list[Any]) -> Any:
        if len(purifiers) == 1:
            return purifiers[0]
        return max(purifiers, key=lambda purifier: claims.left_of(these, purifier, tune, threat))

    def diffpure(sigma: float) -> DiffPure:
        level = int((q.sigma / q.alpha / 2 - sigma).abs().argmin())
        return DiffPure(level, min(settings.calls, level))

    ours = best(networks, [replace(settings.method, sigma=sigma) for sigma in settings.sigmas[1:]])
    lengths = [share * ours.sigma / settings.calls for share in settings.shares]
    return Chosen(
        models,
        networks,
        threat,
        {
            OURS: ours,
            FIXED: best(networks, [FixedSteps(ours.sigma, ours.steps, length=a) for a in lengths]),
            OTHER: best(models, [diffpure(sigma) for sigma in settings.sigmas[1:]]),
        },
    )


def _words(purifier: ADP | DiffPure) -> str:
    if isinstance(purifier, DiffPure):
        return f"level {purifier.level}"
    noise = f"noise of {purifier.sigma:g}"
    return f"{noise}, steps of {purifier.length:.3g}" if isinstance(purifier, FixedSteps) else noise


@torch.no_grad()
def by_draws(settings: Settings, purified: Purified, hostile: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """How often the mean logits of so many purifications of a picture are right, (N,)."""
    own, most = seeds(purified.seed, 80, n=len(hostile)), DRAWS[-1] * settings.repeats
    logits = torch.stack([purified.seeded(hostile, [derive(s, k) for s in own]) for k in range(most)])
    means = {n: logits.unflatten(0, (-1, n)).mean(1) for n in DRAWS}
    return {str(n): (mean.argmax(-1) == labels).double().mean(0) for n, mean in means.items()}


def measure(settings: Settings, trial: Trial) -> None:
    """Attack this seed's models on test pictures."""
    chosen: Chosen = trial.once("models", lambda: prepare(settings, trial))
    models, network = chosen.models[trial.index], chosen.networks[trial.index]
    pictures, threat, ours = settings.scored_on, chosen.threat, chosen.purifiers[OURS]
    claims.note(trial, models.attacked(models.classifier, pictures, threat), claims.BARE)
    for arm, purifier in chosen.purifiers.items():
        purified = (models if arm == OTHER else network).behind(purifier)
        strong = claims.attacks(settings, purified)
        kept = Kept(strong[EXACT])
        report = models.attacked(purified, pictures, threat, strong | {EXACT: kept}, settings.steps)
        claims.note(trial, report, arm)
        short = claims.sweep_attacks(settings)
        gentle = models.attacked(purified, pictures, replace(threat, eps=threat.eps / 2), short)
        trial.found.add(GENTLE, arm, gentle.worst)
        if arm == OURS:
            for n, right in by_draws(settings, purified, torch.cat(kept.found), pictures[1]).items():
                trial.found.add(BY_DRAWS, arm, right, n)
    changes = [(BY_STEPS, str(n), {"steps": n}) for n in settings.by_steps]
    changes += [(BY_NOISE, str(sigma), {"sigma": sigma}) for sigma in settings.sigmas]
    left: dict[Any, Tensor] = {}
    for name, case, change in changes:
        changed = replace(ours, **change)
        if changed not in left:
            purified = network.behind(changed)
            left[changed] = network.attacked(purified, pictures, threat, claims.sweep_attacks(settings)).worst
        trial.found.add(name, OURS, left[changed], case)
    trial.found.samples |= {
        "threat": str(threat),
        "chosen": {arm: _words(purifier) for arm, purifier in chosen.purifiers.items()},
        "sigma": str(getattr(ours, "sigma", "")),
    }
    if trial.index == 0:
        for arm in (OURS, OTHER):
            purified = (models if arm == OTHER else network).behind(chosen.purifiers[arm])
            caption = f"{arm}: attack by exact gradients through it all, {threat}."
            attack = claims.attacks(settings, purified)[EXACT]
            claims.draw(trial.section, models, purified, threat, attack, pictures, caption)


def rule(results: Results[Settings]) -> list[Comparison]:
    """The rule at the head of this file."""
    settings, sigma = results.settings, results.first["sigma"]
    few, all_steps = (settings.by_steps[-2], settings.by_steps[-1])
    none = str(settings.sigmas[0])
    return [
        *results.against(WORST, OURS, claims.BARE, FIXED, OTHER),
        *[
            beside
            for name in (BLIND, GENTLE)
            for beside in results.against(name, OURS, FIXED, OTHER, required=False)
        ],
        results.compare(
            f"{few} steps against {all_steps}, less {100 * ALLOWED:g} points",
            (BY_STEPS, OURS, str(few)),
            results.rows(BY_STEPS, OURS, str(all_steps)) - ALLOWED,
        ),
        results.compare(f"noise of {sigma} against none", (BY_NOISE, OURS, sigma), (BY_NOISE, OURS, none)),
        results.compare("ten purifications against one", (BY_DRAWS, OURS, "10"), (BY_DRAWS, OURS, "1")),
    ]


def show(section: Section, results: Results[Settings]) -> None:
    """The strongest attack on every arm."""
    section.note("; ".join(f"{arm}: {chosen}" for arm, chosen in results.first["chosen"].items()) + ".")
    claims.strongest(section, results, (claims.BARE, OURS, FIXED, OTHER))


CLAIM = Claim(
    "adp",
    "Attacks washed out in a few steps that find their length: ADP",
    "A classifier of 8 x 8 digits behind three purifiers of 20 network calls, attacked by those who know of "
    "them.",
    unit="picture",
    tiny=Settings(
        pictures=4, tuning=4, steps=2, draws=2, votes=2, epochs=1, prior_steps=20, sigmas=(0.0, 0.25),
        shares=(1.0,), by_steps=(1, 2), repeats=1, method=ADP(steps=2),
    ),
    quick=Settings(
        pictures=16, tuning=16, steps=5, draws=2, votes=5, epochs=8, prior_steps=500, sigmas=(0.0, 0.25),
        shares=(1.0,), by_steps=(FEW, 10), repeats=2,
    ),
    full=Settings(
        pictures=64, tuning=24, steps=15, draws=5, votes=10, epochs=20, prior_steps=1500,
        sigmas=(0.0, 0.1, 0.25, 0.4), shares=(0.5, 1.0, 2.0), by_steps=(1, 2, FEW, 10), repeats=4,
    ),
    measures={m: Measure("larger", "What is still right.", share=True) for m in claims.TABLED}
    | {
        GENTLE: Measure("larger", "Two attacks of half the length.", share=True),
        BY_STEPS: Measure("larger", "Two attacks of half the length.", False, "steps"),
        BY_NOISE: Measure("larger", "Two attacks of half the length.", False, "noise that is added"),
        BY_DRAWS: Measure("larger", "Their logits are averaged.", False, "purifications"),
    },
    measure=measure,
    rule=rule,
    show=show,
    extra=lambda results: {
        name: results.first[name] for name in ("threat", "chosen")
    } | {"reports": results.collect("reports")},
    quick_seeds=1,
)  # fmt: skip
