"""Does a prior make strokes realistic and keep them recognisable, and does noise trade one for the other?
(Meng et al. 2022, sec. 4)

Guides are held-out emoji turned into strokes: a median filter as wide as a fifth of the picture, then four
colours. Realism is the probability that a picture is real, by a classifier trained in the run on training
pictures as they are and spoiled, half of them into strokes, the others by blur, noise, a crossfade of two or
patches of three. It never sees what the method draws. Likeness is PSNR to the guide. A sceptic would take the
nearest training picture instead: fully realistic, and somewhat like the guide.

Required, beyond chance over guides: from the lowest level to the highest, realism rises and likeness falls;
at level 700, whose alpha with this prior's cosine schedule is that of the code's default, pictures are more
realistic than the strokes and more like them than the nearest training picture. The steps between, and
Frechet distances in the features of a classifier of the two styles, are reported beside. Written before any
result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch import Tensor

from headwater.data import load
from headwater.experiments.comparison import Comparison
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.methods.translation.sdedit.method import SDEdit
from headwater.methods.translation.shared.claim_distances import distances, show_distances
from headwater.metrics.classifier import Classifier, flip, predict, train_classifier
from headwater.metrics.frechet import frechet_distance
from headwater.metrics.image import psnr
from headwater.models import Prior
from headwater.report import Section

OURS, STROKES, NEAREST, REAL = "SDEdit", "strokes", "nearest training picture", "the picture itself"
SIDE, WIDTH, COLOURS = 32, 7, 4
USUAL = 700
"""The level that is compared with the strokes and with the nearest training picture."""


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    pictures: int
    """Guides per seed."""
    training: int
    """Training pictures that the judges see."""
    epochs: int
    """Of the judges."""
    levels: tuple[int, ...]
    method: SDEdit


@dataclass(frozen=True, eq=False)
class Judges:
    """What is trained on training pictures alone."""

    pictures: Tensor
    """All training pictures, the nearest of which a sceptic takes."""
    realism: Classifier
    styles: Classifier
    right: float
    """Share of held-out pictures, as they are and spoiled, that `realism` tells rightly."""

    @classmethod
    def train(cls, settings: Settings) -> Judges:
        """Both classifiers."""
        real, unseen = load("emoji", "train", SIDE), load("emoji", "test", SIDE).images
        some = torch.randperm(len(real), generator=torch.Generator().manual_seed(0))[: settings.training]
        seen, styles = real.images[some], real.labels
        assert styles is not None
        realism = train_classifier(*labelled(seen, 0), seed=0, epochs=settings.epochs, augment=flip)
        told, truth = labelled(unseen[: settings.training], 1)
        right = (predict(realism, told).argmax(1) == truth).double().mean()
        style = train_classifier(seen, styles[some], seed=0, epochs=settings.epochs)
        return cls(real.images, realism, style, float(right))

    def real(self, images: Tensor) -> Tensor:
        """The probability that each picture is real, (B,)."""
        return predict(self.realism, images)[:, 1]

    def nearest(self, guides: Tensor) -> Tensor:
        """The training picture with the smallest squared distance to each guide."""
        return self.pictures[torch.cdist(guides.flatten(1), self.pictures.flatten(1)).argmin(1)]


def strokes(images: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) in [-1, 1] without detail: median filtered, then few colours."""
    found = []
    for pixels in ((images.permute(0, 2, 3, 1) + 1) * 127.5).round().byte().numpy():
        smooth = Image.fromarray(pixels).filter(ImageFilter.MedianFilter(WIDTH))
        few = smooth.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).convert("RGB")
        found.append(torch.from_numpy(np.array(few)).permute(2, 0, 1).float() / 127.5 - 1)
    return torch.stack(found)


def labelled(images: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Pictures as they are, 1, and each of them spoiled in one of five ways, 0; half of those are strokes."""
    generator = torch.Generator().manual_seed(seed)
    kind = (torch.randperm(len(images), generator=generator) % 8 - 3).clamp(min=0)
    noise = torch.randn(images.shape, generator=generator)
    strength = torch.rand(len(images), 1, 1, 1, generator=generator)
    other, patched = images.roll(1, 0), images.clone()
    half = images.shape[-1] // 2
    patched[..., :half] = other[..., :half]
    patched[..., :half, :] = patched.roll(2, 0)[..., :half, :]
    spoiled = torch.stack([
        strokes(images),
        F.avg_pool2d(F.pad(images, (1, 1, 1, 1), "replicate"), 3, 1),
        (images + (0.05 + 0.25 * strength) * noise).clamp(-1, 1),
        images + (0.2 + 0.6 * strength) * (other - images),
        patched,
    ])  # fmt: skip
    truth = torch.ones(2 * len(images), dtype=torch.int64)
    truth[len(images) :] = 0
    return torch.cat([images, spoiled[kind, torch.arange(len(images))]]), truth


def measure(settings: Settings, trial: Trial) -> None:
    """Draw every guide at every level."""
    prior = trial.once("prior", lambda: Prior.from_pretrained("emoji"))
    judges = trial.once("judges", lambda: Judges.train(settings))
    unseen, n = load("emoji", "test", SIDE).images, settings.pictures
    order = torch.randperm(len(unseen), generator=torch.Generator().manual_seed(0)).roll(-n * trial.index)
    truth, others = unseen[order[:n]], unseen[order[n:]]
    guides = strokes(truth)
    drawn = {
        level: replace(settings.method, level=level).apply(prior, guides, **trial.run(16)).clamp(-1, 1)
        for level in settings.levels
    }
    fixed = {STROKES: guides, NEAREST: judges.nearest(guides), REAL: truth}
    for level, images in drawn.items():
        for arm, shown in {OURS: images, **fixed}.items():
            trial.found.add("realism", arm, judges.real(shown), f"{level}")
            if arm != STROKES:
                trial.found.add("likeness", arm, psnr(shown, guides), f"{level}")
    columns = {
        STROKES: guides,
        **{f"level {t}": x for t, x in drawn.items()},
        NEAREST: fixed[NEAREST],
        REAL: truth,
    }
    reference = judges.styles.features(others)
    trial.found.samples["frechet"] = {
        name: frechet_distance(judges.styles.features(images), reference) for name, images in columns.items()
    }
    trial.found.samples["right"] = judges.right
    trial.section.pictures(
        {name: images[:8] for name, images in columns.items()}, caption="The first guides of the first seed."
    )


def rule(results: Results[Settings]) -> list[Comparison]:
    """The rule at the head of this file."""
    levels, usual = [str(t) for t in results.settings.levels], str(USUAL)

    def change(measure: str, low: str, high: str, required: bool) -> Comparison:
        """Realism is larger at the higher level, likeness at the lower one."""
        ends = (high, low) if measure == "realism" else (low, high)
        ours, other = ((measure, OURS, end) for end in ends)
        return results.compare(f"{measure} from level {low} to {high}", ours, other, required)

    both = ("realism", "likeness")
    between = list(pairwise(levels)) if len(levels) > 2 else []
    return [
        *[change(m, levels[0], levels[-1], True) for m in both],
        results.compare(
            f"realism at level {usual} against the strokes",
            ("realism", OURS, usual),
            ("realism", STROKES, usual),
        ),
        results.compare(
            f"likeness at level {usual} against the {NEAREST}",
            ("likeness", OURS, usual),
            ("likeness", NEAREST, usual),
        ),
        *[change(m, *pair, False) for m in both for pair in between],
    ]


def show(section: Section, results: Results[Settings]) -> None:
    """What the style classifier's features say, and how good the judge of realism is."""
    show_distances(
        section,
        results,
        f"Of {results.settings.pictures} pictures a seed to all other held-out ones, in features of a "
        "classifier of the two styles. The judge of realism tells "
        f"{results.first['right']:.1%} of held-out pictures, as they are and spoiled, rightly.",
    )


METHOD = SDEdit(steps=50)
CLAIM = Claim(
    "sdedit",
    "Strokes made realistic: SDEdit",
    "Held-out emoji reduced to strokes, noised to several levels and denoised by a prior of emoji.",
    unit="guide",
    tiny=Settings(2, 64, 1, (100, 700), replace(METHOD, steps=2)),
    quick=Settings(8, 1000, 4, (100, 700, 900), replace(METHOD, steps=20)),
    full=Settings(40, 2966, 12, (100, 300, 500, 700, 900), METHOD),
    measures={
        "realism": Measure("larger", "Probability of being a real emoji, by the judge.", axis="level"),
        "likeness": Measure("larger", "PSNR to the strokes, in dB.", axis="level"),
    },
    measure=measure,
    rule=rule,
    show=show,
    extra=lambda results: {"frechet": distances(results), "judge": results.first["right"]},
    new_units=True,
)
