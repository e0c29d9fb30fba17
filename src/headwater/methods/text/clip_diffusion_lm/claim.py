"""Do a few parallel passes caption pictures of new concepts better than retrieval, and does guidance by text
features help? (Xu 2022, sec. 4)

Emoji, their names as captions, split by concept: no test name was trained on. Word F1 of the guided captions
is compared with that of the caption of the nearest training picture, that of the nearest training caption
and that of captions written without guidance, over names (pictures of one name, trainings and noises
averaged). `held` needs all three beyond chance, `partly` one. Ancestral steps, which the paper does not
take, and single passes are reported and take no part. The rule was written before any result.

The captioner is the one that ships, and seeds are those of the noise; where none ships, it is trained here.
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
from headwater.report import Section
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
    """Whether the captioner that ships is taken; one that is trained here is the same for all seeds."""


def small(features: int, train: int) -> CLIPDiffusionLM:
    """The method of recipes/small.yaml, trained for so many steps."""
    method = entry("clip-diffusion-lm").configured("small")
    training = replace(method.training, steps=train, warmup=min(300, train // 4))
    return replace(method, feature_steps=features, training=training)


FULL = Settings(small(600, 15_000))
_TINY = replace(
    small(2, 2), size=16, dim=8, hidden=8, heads=2, layers=1, training=TrainerConfig(2, 4, lr=1e-3)
)


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
    trial.found.samples |= {"pictures": test.images[:24], "guided": written[GUIDED][:24], "truth": truth[:24]}


def rule(results: Results[Settings]) -> list[Comparison]:
    """Three arms to beat, two that are reported."""
    return [
        *results.against(F1, GUIDED, PICTURE, CAPTION, "no guidance"),
        *results.against(F1, GUIDED, "one pass", "ancestral, 20 steps", required=False),
    ]


def cost(results: Results[Settings]) -> dict[str, int]:
    """Network calls per caption, by arm."""
    return {name: calls(arm) for name, arm in arms(results.settings.method).items()}


def show(section: Section, results: Results[Settings]) -> None:
    """Captions of some pictures, and what they cost."""
    first = results.first
    section.contact_sheet(
        first["pictures"],
        labels=[f"{g or '(nothing)'} / {t}" for g, t in zip(first["guided"], first["truth"], strict=True)],
        caption="Written with guidance / the true name. No true name was trained on; first seed.",
    )
    section.table(["arm", "network calls a caption"], [[name, n] for name, n in cost(results).items()])


CLAIM = Claim(
    "clip-diffusion-lm",
    "Captions of new concepts: CLIP-Diffusion-LM",
    "All words of a caption at once, from picture features.",
    unit="name",
    tiny=Settings(_TINY, 4, shipped=False),
    quick=Settings(small(120, 120)),
    full=FULL,
    measures={F1: Measure("larger", "Over the names of held-out concepts.")},
    measure=measure,
    rule=rule,
    show=show,
    extra=lambda results: {"calls_per_caption": cost(results)},
)
