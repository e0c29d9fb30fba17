"""Does a network that was trained to inpaint join its filling to the image better? (Nichol et al., sec. 3.2)

Held-out emoji with a hidden part are filled, with their names as captions, by the inpainting network and by
the text-to-image network that it was fine-tuned from, in whose loop the noised known part is put in place
before each step. Same steps, same scale. Required: the trained network has the smaller seam and the smaller
error in the hole. The rule was written before any result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headwater.controls import GivenRegion
from headwater.core import Control
from headwater.data import load
from headwater.data.holes import known_pixels
from headwater.experiments.comparison import Comparison
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.gallery import names
from headwater.methods.synthesis.glide.method import FittedGlide
from headwater.methods.synthesis.glide_inpaint.method import FittedGlideInpaint, GlideInpaint
from headwater.metrics.image import border_continuity, hole_error
from headwater.sampling import Batch, Run
from headwater.training import TrainerConfig

OURS, OTHER = "trained to inpaint", "drawn over at each step"


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    pictures: int
    """Per seed and mask family."""
    families: tuple[str, ...]
    method: GlideInpaint


_METHOD = GlideInpaint(
    base="glide",
    guidance_scale=2.0,
    steps="25",
    training=TrainerConfig(40, 64, 3e-4, grad_clip=1.0, precision="bf16"),
)


def drawn_over(
    method: GlideInpaint, image: Tensor, known: Tensor, text: list[str], base: FittedGlide, run: Run
) -> Tensor:
    """The other way to inpaint: noise the known part to each timestep and put it in place."""

    def given(batch: Batch) -> tuple[list[Control], dict[str, Tensor]]:
        return [GivenRegion(batch.take(image), batch.take(known), base.process, batch.noise)], {}

    return image.where(known, method.sample(base, text, run, given))


def inpainting_network(method: GlideInpaint, trial: Trial) -> FittedGlideInpaint:
    """The network that ships, or else one fine-tuned here; its training is not repeated over the seeds."""
    if "glide-inpaint" in names("fitted"):
        return FittedGlideInpaint.from_pretrained("glide-inpaint")
    data = load("emoji", "train", FittedGlide.from_pretrained(method.base).shape[-1])
    return trial.train(OURS, lambda run: method.fit(data.images, data.names or [], **run), trainings=1)


def measure(settings: Settings, trial: Trial) -> None:
    """Fill holes both ways; every seed takes other pictures, so that none counts twice."""
    method, families, n = settings.method, settings.families, settings.pictures
    base, wide = FittedGlide.from_pretrained(method.base), inpainting_network(method, trial)
    data = load("emoji", "test", base.shape[-1])
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    chosen = data.select(order[trial.index * n :][:n])
    truth, text = chosen.images.repeat(len(families), 1, 1, 1), (chosen.names or []) * len(families)
    masks = [known_pixels(f, len(chosen), *base.shape[1:], seed=trial.seed) for f in families]
    known, run = torch.cat(masks), trial.run(48)
    filled = {
        OURS: method.apply(truth, known, text, wide, **run),
        OTHER: drawn_over(method, truth, known, text, base, run),
    }
    for arm, image in filled.items():
        # A picture counts once however many masks hide it.
        seam, error = border_continuity(image, truth, known).abs(), hole_error(image, truth, known)
        trial.found.add("seam", arm, seam.view(len(families), -1).mean(0))
        trial.found.add("hole error", arm, error.view(len(families), -1).mean(0))
    columns = {"given": truth.where(known, torch.zeros(())), **filled, "truth": truth}
    shown = range(0, len(text), max(1, len(chosen) // 3))[:9]
    cells = {name: [images[i] for i in shown] for name, images in columns.items()}
    trial.section.pictures(cells, row_labels=[text[i] for i in shown])
    trained = f"fine-tuned in this run for {method.training.steps} steps"
    origin = trained if trial.found.training_seconds else "shipped"
    trial.section.note(f"The inpainting network: {origin}. Its training is not repeated over the seeds.")


def rule(results: Results[Settings]) -> list[Comparison]:
    """Two measures."""
    return [results.compare(m, (m, OURS), (m, OTHER)) for m in ("seam", "hole error")]


CLAIM = Claim(
    "glide-inpaint",
    "Holes filled from captions: GLIDE",
    "Held-out emoji with a part hidden (grey), filled with their names as captions.",
    unit="picture",
    tiny=Settings(2, ("half",), replace(_METHOD, steps="2", training=TrainerConfig(1, 4, 1e-4))),
    quick=Settings(4, ("wide", "half"), replace(_METHOD, steps="12")),
    full=Settings(
        16,
        ("wide", "half", "expand"),
        replace(_METHOD, training=replace(_METHOD.training, steps=400, ema=0.99)),
    ),
    measures={
        "seam": Measure("smaller", "Each picture averaged over its masks."),
        "hole error": Measure("smaller", "Mean squared error over the hole, pictures in [-1, 1]."),
    },
    measure=measure,
    rule=rule,
    new_units=True,
)
