"""The main job: every chapter on shipped priors and shipped data, on one page."""

from __future__ import annotations

import logging
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from headwater.core import network_calls
from headwater.data import load
from headwater.experiments.harness import Outcome, Reproduction, claim_of
from headwater.experiments.recorded import recorded
from headwater.methods.catalogue import METHODS
from headwater.metrics.classifier import generated_quality, train_classifier
from headwater.models import Prior
from headwater.models.prior import ECONOMICAL
from headwater.notes import LOGGER
from headwater.report import Page, Section
from headwater.sampling import Run

PRIORS = {
    "digits": ("digits", "train"),
    "emoji": ("emoji", "train"),
    "emoji-parts": ("emoji-parts-hue", "prior"),
    "photos": ("photos", "train"),
    "brain": ("brain", "train"),
    "brain-simplex": ("brain", "train"),
}
"""Each shipped prior and the pictures that it was trained on."""
SAMPLES = "samples"
SAMPLES_SECONDS = 130
"""What the panel of samples takes on one core, about, as `Entry.tour` says it of a method."""


@dataclass(frozen=True)
class Panel:
    """What one part of the tour leaves behind."""

    name: str
    sections: list[Section]
    outcome: Outcome | None
    seconds: float


@dataclass(frozen=True)
class Tour:
    """What a tour leaves behind."""

    page: Path
    outcomes: list[Outcome]
    seconds: float


def panels() -> list[str]:
    """The methods on the page, in the catalogue's order. `reproduce` makes the same page of the others."""
    return [name for name, entry in METHODS.items() if entry.tour]


def tour(out: Path, seed: int = 0, progress: bool = True) -> Tour:
    """Run everything at `quick` effort with one seed and write out/index.html and out/numbers.json.

    Panels are computed in as many processes as there are cores, one thread each: these networks are too
    small for two threads to be of use. The calling script must be importable (`if __name__ == "__main__"`).
    """
    began = time.monotonic()
    names = [SAMPLES, *panels()]
    done: dict[str, Panel] = {}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ProcessPoolExecutor(min(cores, len(names)), get_context("spawn"), _alone) as pool:
        # The longest first, so that no core is left alone with one of them at the end.
        order = sorted(
            names, key=lambda n: METHODS[n].tour if n in METHODS else SAMPLES_SECONDS, reverse=True
        )
        for future in as_completed([pool.submit(panel, name, seed) for name in order]):
            found = future.result()
            done[found.name] = found
            if progress:
                print(f"{found.name}: {found.seconds:.0f} s ({len(done)} of {len(names)})", file=sys.stderr)
    page = Page(
        "One diffusion prior, every downstream task",
        "Networks that ship with the package, or were trained in this very run, on a few pictures, texts and "
        "series each. A verdict says whether the paper's claim held in a run at full effort.",
        kicker="Headwater tour",
    )
    full = recorded()
    for name in names:
        sections = done[name].sections
        page.sections += sections
        if name == SAMPLES:
            page.card(sections[0], "Samples", "draw pictures like those that a prior was trained on")
        else:
            verdict = full[name].verdict if name in full else None
            page.card(sections[0], METHODS[name].title, METHODS[name].summary, verdict)
    seconds = time.monotonic() - began
    settings = {
        "effort": "quick",
        "sampler of the samples": f"DPM-Solver++ with fresh noise, {ECONOMICAL} calls",
        "seconds": {name: round(done[name].seconds) for name in names},
    }
    page.provenance("headwater tour --out demo", [seed], seconds, settings)
    page.write_json(out / "numbers.json")
    outcomes = [done[name].outcome for name in names]
    return Tour(page.write(out / "index.html"), [o for o in outcomes if o is not None], seconds)


def _alone() -> None:
    """A process of the tour: one thread, and no notes on the claims' own data, which their pages describe."""
    torch.set_num_threads(1)
    LOGGER.setLevel(logging.ERROR)


def panel(name: str, seed: int) -> Panel:
    """One part of the tour, in a process of its own."""
    began, page, outcome = time.monotonic(), Page(name), None
    if name == SAMPLES:
        section = page.section("Samples", "What each shipped prior draws, beside what it was trained on.")
        _samples(section, Run(seed, batch_size=16, progress=False))
    else:
        how = Reproduction(page, "quick", (seed,), progress=False, recorded=True)
        outcome = claim_of(name).reproduce(how)
    return Panel(name, page.sections, outcome, time.monotonic() - began)


def _samples(section: Section, run: Run) -> None:
    for name, (data, split) in PRIORS.items():
        prior = Prior.from_pretrained(name)
        judged, (plan, sampler) = name == "digits", prior.economical
        drawn = prior.sample(128 if judged else 32, plan, sampler, **run)
        real = load(data, split, prior.shape[1]).images
        order = torch.randperm(len(real), generator=torch.Generator().manual_seed(run.seed))[:32]
        calls = network_calls(sampler.plan(plan))
        section.contact_sheet(drawn[:32], columns=16, caption=f"{name}: drawn, {calls} network calls each")
        section.contact_sheet(real[order], columns=16, caption=f"{name}: real")
        if judged:
            _digit_quality(section, drawn, run.seed)


def _digit_quality(section: Section, drawn: Tensor, seed: int) -> None:
    train, test = load("digits", "train"), load("digits", "test")
    judge = train_classifier(train.images, cast(Tensor, train.labels), seed)
    order = torch.randperm(len(test.images), generator=torch.Generator().manual_seed(seed))
    quality = generated_quality(judge, test.images[order], drawn)
    section.table(
        ["a classifier trained in this run on real digits says", "drawn", "real"],
        [
            ["mean confidence", quality.confidence, quality.real_confidence],
            ["entropy of the classes / ln 10", quality.balance, 1.0],
            [f"Fréchet distance, {quality.n} pictures a side", quality.frechet, quality.floor],
        ],
        caption="The last number is the distance between two halves of the real test digits.",
    )
