"""Do a few parallel passes caption pictures of new concepts better than retrieval, and does guidance by text
features help? (Xu 2022, sec. 4)

Emoji, their names as captions, split by concept: no test name was trained on. Word F1 of the guided captions
is compared with that of the caption of the nearest training picture, that of the nearest training caption
and that of captions written without guidance, over names (pictures of one name, trainings and noises
averaged). `held` needs all three beyond chance, `partly` one. Ancestral steps, which the paper does not
take, and single passes stand beside and take no part. The rule was written before any result.

The captioner is the one that ships, and seeds are those of the noise; where none ships, it is trained here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from headwater.data import load
from headwater.data.shipped import Set
from headwater.experiments.base import Outcome, Task
from headwater.experiments.comparison import compare, verdict
from headwater.gallery import names
from headwater.methods.text.clip_diffusion_lm.fitted import FittedCaptioner
from headwater.methods.text.clip_diffusion_lm.method import CLIPDiffusionLM
from headwater.methods.text.clip_diffusion_lm.picture_features import encoded, neighbours
from headwater.metrics.statistics import summarize
from headwater.metrics.text import sentence_f1
from headwater.report import Estimate
from headwater.training import TrainerConfig

GUIDED = "guided"
SHIPPED = "clip-diffusion-lm"


@dataclass(frozen=True)
class Setting:
    """How much is computed."""

    method: CLIPDiffusionLM
    pictures: int
    """Test pictures, at most."""
    trainings: int
    """Seeds that train anew where nothing ships; later seeds draw other noise only."""


def small(features: int, train: int) -> CLIPDiffusionLM:
    """The method of recipes/small.yaml, trained for so many steps."""
    return CLIPDiffusionLM(
        size=32,
        features="trained",
        feature_steps=features,
        tokenizer="word",
        vocabulary=2000,
        words="random",
        length=7,
        dim=48,
        hidden=128,
        layers=3,
        heads=4,
        feedforward=256,
        dropout=0.2,
        levels=2,
        training=TrainerConfig(
            train,
            64,
            lr=1e-3,
            warmup=min(300, train // 4),
            decay="cosine",
            grad_clip=1.0,
            ema=0.999,
            precision="bf16",
        ),
        guidance_scale=2.0,
    )


QUICK = Setting(small(120, 120), 10_000, 1)
FULL = Setting(small(600, 15_000), 10_000, 1)


def arms(method: CLIPDiffusionLM) -> dict[str, CLIPDiffusionLM]:
    """Ways to write."""
    return {
        GUIDED: method,
        "no guidance": replace(method, guidance_scale=1.0),
        "one pass": replace(method, steps=1),
        "ancestral, 20 steps": replace(method, steps=20, sampler="ancestral"),
    }


def calls(method: CLIPDiffusionLM) -> int:
    """Network calls per caption."""
    return method.steps * (2 if method.guidance_scale > 1 else 1)


def retrieved(fitted: FittedCaptioner, train: Set, test: Set) -> dict[str, list[str]]:
    """Captions of the nearest training picture, and nearest training captions, of each test picture."""
    names = train.names or []
    seen = encoded(fitted.eyes.image, test.images)
    pictures = neighbours(seen, encoded(fitted.eyes.image, train.images)).tolist()
    captions = neighbours(seen, fitted.captions).tolist()
    return {
        "nearest picture": [names[i] for i in pictures],
        "nearest caption": [names[i] for i in captions],
    }


def per_name(captions: list[str], truth: list[str]) -> list[float]:
    """Word F1 of each name, in order of name, its pictures averaged."""
    found: dict[str, list[float]] = {}
    for caption, name in zip(captions, truth, strict=True):
        found.setdefault(name, []).append(sentence_f1(caption, name))
    return [float(np.mean(found[name])) for name in sorted(found)]


def reproduce(task: Task) -> Outcome:
    """Caption pictures of held-out concepts in every way."""
    setting = QUICK if task.effort == "quick" else FULL
    ships = SHIPPED in names("fitted")
    fitted = FittedCaptioner.from_pretrained(SHIPPED) if ships else None
    method, train = setting.method, load("emoji", "train", setting.method.size)
    test = load("emoji", "test", method.size)
    test = test.select(_spread(len(test), setting.pictures))
    truth = test.names or []
    scores: dict[str, list[list[float]]] = {}
    first: dict[str, list[str]] = {}
    for i, seed in enumerate(task.seeds):
        run = task.run(seed, batch=128)
        if fitted is None or (not ships and i < setting.trainings):
            fitted = method.fit(train.images, train.names or [], **run)
        written = {name: arm.apply(test.images, fitted, **run) for name, arm in arms(method).items()}
        written |= retrieved(fitted, train, test)
        first = first or written
        for name, captions in written.items():
            scores.setdefault(name, []).append(per_name(captions, truth))
    where = "shipped" if ships else f"trained here, {min(setting.trainings, len(task.seeds))} times"
    return _report(task, setting, test, first, scores, where)


def _spread(n: int, wanted: int) -> Tensor:
    return torch.arange(0, n, max(1, n // wanted))[:wanted]


def _report(
    task: Task,
    setting: Setting,
    test: Set,
    first: dict[str, list[str]],
    scores: dict[str, list[list[float]]],
    where: str,
) -> Outcome:
    truth = test.names or []
    required = [
        compare(f"word F1 against {other}", scores[GUIDED], scores[other], "larger", "name")
        for other in ("nearest picture", "nearest caption", "no guidance")
    ]
    beside = [
        compare(f"word F1 against {other}", scores[GUIDED], scores[other], "larger", "name")
        for other in ("one pass", "ancestral, 20 steps")
    ]
    per_arm = {name: [summarize(v).mean for v in rows] for name, rows in scores.items()}
    cost = {name: calls(arm) for name, arm in arms(setting.method).items()}
    section = task.page.section(
        "Captions of new concepts: CLIP-Diffusion-LM",
        "All words of a caption at once, from picture features.",
    )
    shown = range(min(24, len(truth)))
    section.contact_sheet(
        test.images[: len(shown)],
        columns=8,
        labels=[f"{first[GUIDED][i] or '(nothing)'} / {truth[i]}" for i in shown],
        caption="Written with guidance / the true name. No true name was trained on; seed 0.",
    )
    section.table(
        ["arm", "word F1", "network calls a caption"],
        [[name, _over_seeds(v), cost.get(name, 0)] for name, v in per_arm.items()],
        caption="Mean over names; ± over seeds.",
        best={"word F1": "max"},
    )
    measured = "; ".join(map(str, [*required, *beside]))
    ruling = verdict(required)
    section.settings(
        {
            "captioner": where,
            "pictures": len(truth),
            "seeds": list(task.seeds),
        }
    )
    section.claim(CLIPDiffusionLM.paper.claim, measured, ruling)
    return Outcome(
        "clip-diffusion-lm",
        CLIPDiffusionLM.paper.claim,
        measured,
        ruling,
        {
            "word_f1": per_arm,
            "calls_per_caption": cost,
            "comparisons": {c.what: c.to_dict() for c in [*required, *beside]},
        },
        {"effort": task.effort, "seeds": list(task.seeds), "captioner": where},
    )


def _over_seeds(values: list[float]) -> Estimate:
    found = summarize(values)
    return Estimate(found.mean, found.sd)
