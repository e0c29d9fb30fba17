"""All defences side by side: the same classifiers, priors, pictures and attackers for each, in both norms.

Required, beyond chance over pictures, seeds averaged: every defence leaves more than the bare classifier in
the worst case of all attacks, in both norms. Which one leaves most is shown, with intervals, and not
required: settings are small, of about as many network calls, and were chosen for none of them here. Written
before any figure was seen.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, cast

from headwater.attacks import Threat
from headwater.attacks.report import APGD_EXACT, BLIND, CLEAN, EXACT, NAIVE, TRANSFER, WORST
from headwater.core import network_calls
from headwater.experiments.comparison import Comparison
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.experiments.page import share
from headwater.methods.catalogue import METHODS
from headwater.methods.robustness.shared import claims
from headwater.methods.robustness.shared.pictures import Norm
from headwater.methods.robustness.shared.purifies import Purifies
from headwater.report import Section

NORMS: dict[Norm, str] = {"linf": ", L-infinity", "l2": ", L2"}
COLUMNS = (CLEAN, NAIVE, TRANSFER, BLIND, EXACT, APGD_EXACT, WORST)
CALLS, SECONDS = "network calls a picture", "seconds a picture"
SMALL: dict[str, dict[str, Any]] = {
    "diffpure": {"level": 100, "steps": 10},
    "blau-purification": {"level": 141, "steps": 15},
    "gdmp": {"level": 200, "steps": 15, "rounds": 1, "scale": 0.1},
    "wu-purification": {"steps": 15, "scale": 3.0},
    "adp": {"steps": 7},
}
"""Catalogue name of a defence -> settings that a small network can be attacked through."""


@dataclass(frozen=True, kw_only=True)
class Settings(claims.Settings):
    """How much is computed."""

    defences: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: SMALL)
    """Catalogue names, and the settings of each."""

    def made(self, name: str, threat: Threat) -> Purifies:
        """A defence; one that wants to know the radius of the attack is told that of L-infinity."""
        found = METHODS[name].load()(**self.defences[name])
        known = any(f.name == "radius" for f in fields(cast(Any, found)))
        return cast(Purifies, replace(cast(Any, found), radius=255 * threat.eps) if known else found)


def title(name: str) -> str:
    """What a defence is called in the table."""
    return METHODS[name].title or METHODS[name].attribute


def prepare(settings: Settings, trial: Trial) -> tuple[list[claims.Models], dict[Norm, Threat]]:
    """The models of all seeds and the radii, chosen on training pictures."""
    models = claims.trained(settings, trial)
    return models, {norm: claims.breaking(models, settings.tuned_on, norm) for norm in NORMS}


def measure(settings: Settings, trial: Trial) -> None:
    """Attack every defence of this seed's models on test pictures."""
    every, threats = trial.once("models", lambda: prepare(settings, trial))
    models, pictures = every[trial.index], settings.scored_on
    trial.found.samples["threats"] = list(map(str, threats.values()))
    for norm, threat in threats.items():
        bare = models.attacked(models.classifier, pictures, threat)
        claims.note(trial, bare, claims.BARE, NORMS[norm])
    for name in settings.defences:
        purifier, arm = settings.made(name, threats["linf"]), title(name)
        since = time.perf_counter()
        purifier.apply(models.prior, 2 * pictures[0] - 1, **trial.run(64))
        seconds = (time.perf_counter() - since) / len(pictures[0])
        trial.found.samples.setdefault(SECONDS, {})[arm] = seconds
        trial.found.samples.setdefault(CALLS, {})[arm] = network_calls(purifier.timesteps(models.prior))
        for norm, threat in threats.items():
            defended = models.behind(purifier)
            against = claims.attacks(settings, defended, models.surrogate)
            report = models.attacked(defended, pictures, threat, against)
            claims.note(trial, report, arm, NORMS[norm])
            if norm == "linf":
                caption = f"{arm}, the first pictures of the first seed, L-infinity."
                claims.draw(trial.section, models, defended, threat, against[EXACT], pictures, caption)


def rule(results: Results[Settings]) -> list[Comparison]:
    """The rule at the head of this file."""
    return [
        results.compare(
            f"{title(name)}, worst case{case}, against bare", (WORST + case, title(name)),
            (WORST + case, claims.BARE),
        )
        for case in NORMS.values()
        for name in results.settings.defences
    ]  # fmt: skip


def show(section: Section, results: Results[Settings]) -> None:
    """A table for each norm, the best worst case first."""
    arms = [title(name) for name in results.settings.defences]
    for case, threat in zip(NORMS.values(), results.first["threats"], strict=True):
        ranked = sorted(arms, key=lambda arm, case=case: -results.mean(WORST + case, arm))
        section.table(
            ["defence", *COLUMNS, CALLS, SECONDS],
            [
                [arm, *(share(results, m + case, arm) for m in COLUMNS), results.first[CALLS][arm],
                 f"{results.first[SECONDS][arm]:.4f}"]
                for arm in ranked
            ],
            f"{threat}, {results.settings.pictures} pictures, {len(results.seeds)} seeds. The bare classifier"
            f" keeps {results.mean(WORST + case, claims.BARE):.0%} in its worst case. Wilson's "
            "95 %, over pictures. Seconds: without an attack, the first seed.",
        )  # fmt: skip
        claims.strongest(section, results, (claims.BARE, *arms), case)


TINY = Settings(
    pictures=4, tuning=4, steps=2, draws=2, votes=2, epochs=1, prior_steps=10,
    defences={n: s | {"steps": 2} for n, s in SMALL.items()},
)  # fmt: skip
QUICK = Settings(pictures=24, tuning=24, steps=6, draws=2, votes=5, epochs=8, prior_steps=600)
FULL = Settings(pictures=64, tuning=48, steps=15, draws=6, votes=10, epochs=20, prior_steps=3000)
CLAIM = Claim(
    "robustness",
    "Defences, side by side",
    "Purifiers in front of the same classifiers of digits, attacked by those who know the classifier alone, "
    "the purifier but not its gradient, and all of it; and by one who practises on another classifier.",
    statement="Every purifier leaves more pictures right than the bare classifier has left, in the worst "
    "case of all attacks in both norms.",
    unit="picture",
    tiny=TINY,
    quick=QUICK,
    full=FULL,
    measures={
        m + case: Measure("larger", tabled=False, share=True)
        for case in NORMS.values()
        for m in dict.fromkeys((*COLUMNS, *claims.TABLED))
    },
    measure=measure,
    rule=rule,
    show=show,
    extra=lambda results: {
        name: results.first[name] for name in ("threats", CALLS)
    } | {"reports": results.collect("reports")},
    quick_seeds=1,
)  # fmt: skip
