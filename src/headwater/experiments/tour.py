"""The main job: every chapter on shipped priors and shipped data, on one page."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from headwater.core import network_calls
from headwater.data import load
from headwater.experiments.base import Outcome, Task, reproduction
from headwater.experiments.recorded import recorded
from headwater.metrics.classifier import generated_quality, train_classifier
from headwater.models import Prior
from headwater.models.prior import ECONOMICAL
from headwater.report import Page, Section
from headwater.sampling import Run

PRIORS = {
    "digits": ("digits", "train"),
    "emoji": ("emoji", "train"),
    "emoji-parts": ("emoji-parts-hue", "prior"),
    "brain": ("brain", "train"),
    "brain-simplex": ("brain", "train"),
}
"""Each shipped prior and the pictures that it was trained on."""

PANELS = (
    "repaint",
    "anoddpm",
    "ddpm-segmentation",
    "segdiff",
    "glide",
    "clip-diffusion-lm",
    "d3pm",
    "diffuseq",
    "csdi",
    "diffpure",
    "score-mri",
)
"""The methods on the page: at least one of each chapter. The others have the same page by `reproduce`."""


@dataclass(frozen=True)
class Tour:
    """What a tour leaves behind."""

    page: Path
    outcomes: list[Outcome]
    seconds: float


def tour(out: Path, seed: int = 0, progress: bool = True) -> Tour:
    """Run everything at `quick` effort and write out/index.html and out/numbers.json."""
    began = time.monotonic()
    page = Page(
        "One diffusion prior, every downstream task",
        "Samples, filled holes, lesions found, parts labelled, captions drawn, texts, series, scans: by "
        "networks that ship with the package, or were trained in this very run. Badges and figures are of "
        "this run, on few pictures; the words in large type are the verdicts of full effort.",
        kicker="Headwater tour",
    )
    run = Run(seed, batch_size=16, progress=progress)
    _samples(page.section("Samples", "What each shipped prior draws, beside what it was trained on."), run)
    seeds = (seed, seed + 1, seed + 2)
    outcomes = [reproduction(name)(Task(page, "quick", seeds, progress)) for name in PANELS]
    for outcome in outcomes:
        full = recorded().get(outcome.method)
        verdict = full.verdict if full else "not yet at full effort"
        page.highlight(outcome.method, verdict, f"here {outcome.verdict}: {brief(outcome.measured)}")
    seconds = time.monotonic() - began
    settings = {
        "effort": "quick",
        "sampler of the samples": f"DPM-Solver++ with fresh noise, {ECONOMICAL} calls",
    }
    page.provenance("headwater tour --out demo", seeds, seconds, settings)
    page.write_json(out / "numbers.json")
    return Tour(page.write(out / "index.html"), outcomes, seconds)


def brief(measured: str, most: int = 120) -> str:
    """The first figures of an outcome, for the head of the page; each section has them all."""
    parts = measured.split("; ")
    kept = [part for i, part in enumerate(parts) if len("; ".join(parts[: i + 1])) <= most] or parts[:1]
    return "; ".join(kept) + (" ..." if len(kept) < len(parts) else "")


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
