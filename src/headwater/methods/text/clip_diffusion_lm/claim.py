"""Do a few parallel passes caption pictures of new concepts better than retrieval, and does guidance by text
features help? (Xu 2022, sec. 4)

Emoji, their names as captions, split by concept: no test name was trained on. Word F1 of the guided captions
is compared with that of the caption of the nearest training picture, that of the nearest training caption
and that of captions written without guidance, over names (pictures of one name, trainings and noises
averaged). `held` needs all three beyond chance, `partly` one. Ancestral steps, which the paper does not
take, and single passes are reported and take no part. The rule was written before any result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from headwater.data import load
from headwater.data.shipped import Set
from headwater.experiments.comparison import Comparison
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.gallery import names
from headwater.methods.catalogue import entry
from headwater.methods.text.clip_diffusion_lm.fitted import FittedCaptioner, encoded, neighbours
from headwater.methods.text.clip_diffusion_lm.method import CLIPDiffusionLM
from headwater.metrics.text import sentence_f1
from headwater.training import TrainerConfig

F1, GUIDED, SHIPPED = "word F1", "guided", "clip-diffusion-lm"
PICTURE, CAPTION = "nearest picture", "nearest caption"


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    method: CLIPDiffusionLM
    pictures: int = 10_000
    """Test pictures, at most."""
    shipped: bool = True
    """Whether the captioner that ships is taken, so that seeds are those of the noise; where none ships, one
    is trained here, the same for all seeds."""


SMALL: CLIPDiffusionLM = entry("clip-diffusion-lm").configured("small")
TINY = replace(
    SMALL, feature_steps=2, size=16, dim=8, hidden=8, heads=2, layers=1, training=TrainerConfig(2, 4, lr=1e-3)
)


def arms(method: CLIPDiffusionLM) -> dict[str, CLIPDiffusionLM]:
    """Ways to write."""
    return {
        GUIDED: method,
        "no guidance": replace(method, guidance_scale=1.0),
        "one pass": replace(method, steps=1),
        "ancestral, 20 steps": replace(method, steps=20, sampler="ancestral"),
    }


def cost(method: CLIPDiffusionLM) -> dict[str, int]:
    """Network calls per caption of each way."""
    return {name: arm.steps * (2 if arm.guidance_scale > 1 else 1) for name, arm in arms(method).items()}


def per_name(captions: list[str], truth: list[str]) -> list[float]:
    """Word F1 of each name, in order of name, its pictures averaged."""
    found: dict[str, list[float]] = {}
    for caption, name in zip(captions, truth, strict=True):
        found.setdefault(name, []).append(sentence_f1(caption, name))
    return [float(np.mean(found[name])) for name in sorted(found)]


def captioner(settings: Settings, trial: Trial, train: Set) -> FittedCaptioner:
    """The one that ships, or one trained here."""
    if settings.shipped and SHIPPED in names("fitted"):
        return FittedCaptioner.from_pretrained(SHIPPED)
    method, captions = settings.method, train.names or []
    return trial.train("captioner", lambda run: method.fit(train.images, captions, **run), trainings=1)


def measure(settings: Settings, trial: Trial) -> None:
    """Caption pictures of held-out concepts in every way."""
    train, test = (load("emoji", split, settings.method.size) for split in ("train", "test"))
    test = test.select(
        torch.arange(0, len(test), max(1, len(test) // settings.pictures))[: settings.pictures]
    )
    fitted, truth, known = captioner(settings, trial, train), test.names or [], train.names or []
    run = trial.run(128)
    written = {name: arm.apply(test.images, fitted, **run) for name, arm in arms(settings.method).items()}
    features = encoded(fitted.encoders.image, test.images)
    for name, its in (
        (PICTURE, encoded(fitted.encoders.image, train.images)),
        (CAPTION, fitted.captions),
    ):
        written[name] = [known[i] for i in neighbours(features, its).tolist()]
    for name, captions in written.items():
        trial.found.add(F1, name, per_name(captions, truth))
    trial.section.contact_sheet(
        test.images[:24],
        labels=[f"{g or '(nothing)'} / {t}" for g, t in zip(written[GUIDED][:24], truth, strict=False)],
        caption="Written with guidance / the true name. No true name was trained on; first seed.",
    )
    calls = cost(settings.method).items()
    trial.section.table(["arm", "network calls a caption"], [[name, n] for name, n in calls])


def rule(results: Results[Settings]) -> list[Comparison]:
    """Three arms to beat, two that are reported."""
    return [
        *results.against(F1, GUIDED, PICTURE, CAPTION, "no guidance"),
        *results.against(F1, GUIDED, "one pass", "ancestral, 20 steps", required=False),
    ]


CLAIM = Claim(
    "clip-diffusion-lm",
    "Captions of new concepts: CLIP-Diffusion-LM",
    "All words of a caption at once, from picture features.",
    unit="name",
    tiny=Settings(TINY, 4, shipped=False),
    quick=Settings(replace(SMALL, feature_steps=120, training=replace(SMALL.training, steps=120, warmup=30))),
    full=Settings(SMALL),
    measures={F1: Measure("larger", "Over the names of held-out concepts.")},
    measure=measure,
    rule=rule,
    extra=lambda results: {"calls_per_caption": cost(results.settings.method)},
)
