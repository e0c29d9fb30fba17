"""Do a few parallel passes caption scenes whose parts were never seen together, better than writing from left
to right and than retrieval, and does guidance by text features help? (Xu 2022, sec. 4)

Two or three shipped emoji stand in a scene, and its caption says which and how: `cat above red heart`. A
fifth of all pairs of names stands together in no training scene; the test scenes consist of such pairs alone,
each combination once at a place of training and once at a new one. The encoder is fitted once on single
emoji, moved about, and sees a scene through nine windows. Each seed trains a captioner, and a decoder of its
size that writes from left to right: same features, scenes, updates and learning rate. Nothing is chosen on
test scenes.

Required beyond chance over trainings (over combinations where there is one training only): five passes have
more captions exactly right than the left-to-right decoder, and more parts right than the caption of the
nearest training scene and than the nearest training caption, both by the same encoder; and guidance makes
more captions exactly right. `held` needs all four, `partly` one. A single pass, ancestral steps, right
relations and retrieval of the own caption from the written one are reported. The rule was written before any
figure was seen.

The first version captioned single emoji of names that were held out. It is measured too and decides nothing:
only 59 of 163 such names consist of words that were trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from headwater.baselines.captions import LeftToRight
from headwater.data import load
from headwater.experiments.comparison import Comparison
from headwater.experiments.harness import Claim, Key, Measure, Results, Trial
from headwater.gallery import names
from headwater.methods.catalogue import entry
from headwater.methods.text.clip_diffusion_lm.fitted import FittedCaptioner, encoded, neighbours
from headwater.methods.text.clip_diffusion_lm.method import CLIPDiffusionLM
from headwater.methods.text.clip_diffusion_lm.scenes import (
    FORMS,
    SIDE,
    Scene,
    drawn_scenes,
    emoji_of,
    found_again,
    parts_right,
    relation_right,
    shifted,
)
from headwater.metrics.text import sentence_f1
from headwater.models.image_text import ImageTextEncoder

SHIPPED = "clip-diffusion-lm"
EXACT, PARTS, RELATION, OWN = "caption exactly right", "parts right", "relation right", "own caption nearest"
F1 = "word F1 on names that were held out"
PASSES, GUIDED, LEFT = "five passes", "five passes, guided", "left to right"
PICTURE, CAPTION = "nearest training scene", "nearest training caption"
SEEN, NEW = "places seen", "new places"


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    method: CLIPDiffusionLM
    names: int
    """Emoji names that scenes are made of."""
    train: int
    """Training scenes."""
    test: int
    """Test combinations, a multiple of three."""
    eyes: int
    """Updates of the encoder's training on single emoji."""
    single: bool = True
    """Whether the shipped captioner is measured on single emoji."""


SMALL: CLIPDiffusionLM = entry("clip-diffusion-lm").configured("small")
METHOD = replace(
    SMALL, size=SIDE, grid=3, length=10, guidance_scale=1.0,
    training=replace(SMALL.training, steps=2000),
)  # fmt: skip
TINY = replace(
    METHOD, dim=8, hidden=8, heads=2, layers=1, training=replace(METHOD.training, steps=2, batch_size=4)
)


def arms(method: CLIPDiffusionLM) -> dict[str, CLIPDiffusionLM]:
    """Ways to write."""
    return {
        PASSES: method,
        GUIDED: replace(method, guidance_scale=2.0),
        "one pass": replace(method, steps=1),
        "ancestral, 20 steps": replace(method, steps=20, sampler="ancestral"),
    }


def cost(method: CLIPDiffusionLM) -> dict[str, int]:
    """Network calls per caption of each way."""
    return {name: arm.steps * (2 if arm.guidance_scale > 1 else 1) for name, arm in arms(method).items()}


@dataclass(frozen=True)
class Data:
    """What all trainings share."""

    encoder: ImageTextEncoder
    train: Tensor
    captions: list[str]
    test: Tensor
    truth: list[str]


def data_of(settings: Settings, progress: bool) -> Data:
    """Scenes of the first emoji, and an encoder that learnt single ones."""
    emoji = emoji_of(load("emoji", "train", 32), settings.names)
    encoder = ImageTextEncoder.train(*shifted(emoji, 24), steps=settings.eyes, radius=0.0, progress=progress)

    def drawn(scenes: list[Scene]) -> tuple[Tensor, list[str]]:
        return torch.stack([scene.draw(emoji) for scene in scenes]), [scene.caption for scene in scenes]

    train, test = drawn_scenes(sorted(set(emoji.names or [])), settings.train, settings.test)
    return Data(encoder, *drawn(train), *drawn(test))


def note(trial: Trial, arm: str, captions: list[str], truth: list[str]) -> None:
    """Every measure of an arm; the first half of the scenes stands at places of training."""
    half, again = len(truth) // 2, found_again(captions, truth)
    for case, rows in ((SEEN, slice(half)), (NEW, slice(half, None))):
        pairs = list(zip(captions[rows], truth[rows], strict=True))
        trial.found.add(EXACT, arm, [a == b for a, b in pairs], case)
        trial.found.add(PARTS, arm, [parts_right(a, b) for a, b in pairs], case)
        trial.found.add(RELATION, arm, [relation_right(a, b) for a, b in pairs], case)
        trial.found.add(OWN, arm, again[rows], case)


def measure(settings: Settings, trial: Trial) -> None:
    """Train both writers, and caption the test scenes in every way."""
    data = trial.once("data", lambda: data_of(settings, trial.progress))
    method, run = settings.method, trial.run(128)
    fitted = trial.train("captioner", lambda run: method.fit(data.train, data.captions, data.encoder, **run))
    left = trial.train(
        LEFT, lambda run: LeftToRight.fit(data.train, data.captions, fitted, method.training, **run)
    )
    written = {name: arm.apply(data.test, fitted, **run) for name, arm in arms(method).items()}
    written[LEFT] = left.write(data.test)
    seen, known = (encoded(fitted.encoders.image, some) for some in (data.test, data.train))
    for name, its in ((PICTURE, known), (CAPTION, fitted.captions)):
        written[name] = [data.captions[i] for i in neighbours(seen, its).tolist()]
    for name, captions in written.items():
        note(trial, name, captions, data.truth)
    if settings.single:
        single_emoji(trial)
    some = torch.arange(0, len(data.truth), max(1, len(data.truth) // 24))[:24].tolist()
    trial.section.contact_sheet(
        data.test[some],
        4,
        labels=[f"{written[PASSES][i] or '(nothing)'} / {data.truth[i]}" for i in some],
        caption="Written in five passes / the true caption; first seed, at even places among test scenes.",
    )
    calls = cost(method).items()
    trial.section.table(["arm", "network calls a caption"], [[name, n] for name, n in calls])


def single_emoji(trial: Trial) -> None:
    """The earlier test: single emoji of held-out names, by the captioner that ships."""
    if SHIPPED not in names("fitted"):
        return
    train, test = (load("emoji", split, 32) for split in ("train", "test"))
    fitted = FittedCaptioner.from_pretrained(SHIPPED)
    truth, known, seen = test.names or [], train.names or [], encoded(fitted.encoders.image, test.images)
    near = neighbours(seen, encoded(fitted.encoders.image, train.images))
    written = {GUIDED: replace(SMALL, guidance_scale=2.0).apply(test.images, fitted, **trial.run(128))}
    written[PICTURE] = [known[i] for i in near.tolist()]
    for arm, captions in written.items():
        trial.found.add(F1, arm, per_name(captions, truth))


def per_name(captions: list[str], truth: list[str]) -> list[float]:
    """Word F1 of each name, in order of name, its pictures averaged."""
    found: dict[str, list[float]] = {}
    for caption, name in zip(captions, truth, strict=True):
        found.setdefault(name, []).append(sentence_f1(caption, name))
    return [float(np.mean(found[name])) for name in sorted(found)]


def rule(results: Results[Settings]) -> list[Comparison]:
    """Four comparisons over trainings decide; over combinations where there is one alone."""
    found, several = list[Comparison](), len(results.seeds) > 1
    pairs: list[tuple[Key, Key]] = [
        ((EXACT, PASSES), (EXACT, LEFT)),
        ((PARTS, PASSES), (PARTS, PICTURE)),
        ((PARTS, PASSES), (PARTS, CAPTION)),
        ((EXACT, GUIDED), (EXACT, PASSES)),
    ]
    for ours, other in pairs:
        what = f"{ours[0]}, {ours[1]} against {other[1]}"
        found += results.compare_trainings(f"{what}, over trainings", ours, other)
        found.append(results.compare(f"{what}, over combinations", ours, other, required=not several))
    found += results.against(EXACT, PASSES, "one pass", "ancestral, 20 steps", required=False)
    if results.settings.single and F1 in results.parts[0].values:
        found += results.against(F1, GUIDED, PICTURE, required=False)
    return found


CLAIM = Claim(
    "clip-diffusion-lm",
    "Captions of scenes never seen together: CLIP-Diffusion-LM",
    "All words of a caption at once, from the features of nine windows.",
    unit="combination",
    tiny=Settings(TINY, 16, 12, 3, 2, single=False),
    quick=Settings(
        replace(METHOD, training=replace(METHOD.training, steps=100, warmup=20)),
        16,
        300,
        30,
        60,
        single=False,
    ),
    full=Settings(METHOD, 48, 3000, 150, 400),
    measures={
        EXACT: Measure("larger", "Share of the test scenes, over trainings."),
        PARTS: Measure("larger", "Share of the things that are named; wrong and missing ones count against."),
        RELATION: Measure(
            "larger", "Right relations, and no thing of the scene at another's place: a share of the scenes."
        ),
        OWN: Measure(
            "larger", "Share of written captions to which, of all true ones, their own is nearest by BLEU."
        ),
        F1: Measure("larger", "The earlier test, by the captioner that ships; decides nothing."),
    },
    measure=measure,
    rule=rule,
    extra=lambda results: {"calls_per_caption": cost(results.settings.method), "forms": list(FORMS)},
    quick_seeds=1,
)
