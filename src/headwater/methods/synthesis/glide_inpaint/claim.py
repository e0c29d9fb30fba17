"""Does a network that was trained to inpaint join its filling to the picture better? (the paper, sec. 3.2)

Held-out emoji with a hidden part are filled, with their names as captions, by the inpainting network and by
the text-to-image network that it was fine-tuned from, in whose walk the known part is drawn over at each
step. Same steps, same scale. The rule, with 95 % bootstrap intervals over pictures:

    held      the trained network has the smaller seam and the smaller error in the hole
    partly    one of the two
    not held  neither

It was written before any result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headwater.controls import GivenRegion
from headwater.data import load
from headwater.data.holes import known_pixels
from headwater.experiments.base import Outcome, Task
from headwater.experiments.comparison import compare, verdict
from headwater.gallery import names
from headwater.methods.restoration.repaint.claim import hole_error
from headwater.methods.synthesis.glide_inpaint.method import GlideInpaint
from headwater.methods.synthesis.shared.drawing import draw
from headwater.methods.synthesis.shared.fitted_glide import FittedGlide, FittedGlideInpaint
from headwater.metrics.image import border_continuity
from headwater.metrics.statistics import summarize
from headwater.report import Estimate
from headwater.sampling import Batch, Run
from headwater.training import TrainerConfig


@dataclass(frozen=True)
class Setting:
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
QUICK = Setting(4, ("wide", "half"), replace(_METHOD, steps="12"))
FULL = Setting(
    16, ("wide", "half", "expand"), replace(_METHOD, training=replace(_METHOD.training, steps=400, ema=0.99))
)


def drawn_over(
    method: GlideInpaint, image: Tensor, known: Tensor, text: list[str], base: FittedGlide, run: Run
) -> Tensor:
    """The other way to inpaint: noise the known part to each level and put it over the walk's own."""

    def beside(batch: Batch) -> tuple[list[GivenRegion], dict[str, Tensor]]:
        return [GivenRegion(batch.take(image), batch.take(known), base.process, batch.noise)], {}

    return image.where(known, draw(method, base, text, run, beside))


def trained(method: GlideInpaint, task: Task) -> tuple[FittedGlideInpaint, str]:
    """The network that ships, or else one fine-tuned here, and where it comes from."""
    if "glide-inpaint" in names("fitted"):
        return FittedGlideInpaint.from_pretrained("glide-inpaint"), "shipped"
    data = load("emoji", "train", FittedGlide.from_pretrained(method.base).shape[-1])
    fitted = method.fit(data.images, data.names or [], **task.run(0))
    return fitted, f"fine-tuned in this run for {method.training.steps} steps"


def reproduce(task: Task) -> Outcome:
    """Fill holes both ways and report seam and error."""
    setting = QUICK if task.effort == "quick" else FULL
    base = FittedGlide.from_pretrained(setting.method.base)
    wide, origin = trained(setting.method, task)
    data = load("emoji", "test", base.shape[-1])
    arms = ("trained to inpaint", "drawn over at each step")
    found: dict[str, dict[str, list[Tensor]]] = {a: {"seam": [], "hole error": []} for a in arms}
    rows: list[list[Tensor]] = []
    labels: list[str] = []
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    for place, seed in enumerate(task.seeds):  # other pictures for each seed, so that none counts twice
        chosen = data.select(order[place * setting.pictures : (place + 1) * setting.pictures])
        many, run = len(setting.families), Run(seed, batch_size=48, progress=task.progress)
        truth, text = chosen.images.repeat(many, 1, 1, 1), (chosen.names or []) * many
        masks = [known_pixels(f, len(chosen), *base.shape[1:], seed=seed) for f in setting.families]
        known = torch.cat([m.expand(len(chosen), -1, -1, -1) for m in masks])
        filled = {
            arms[0]: setting.method.apply(truth, known, text, wide, **run),
            arms[1]: drawn_over(setting.method, truth, known, text, base, run),
        }
        for arm, pictures in filled.items():
            # A picture counts once however many masks hide it.
            seam = border_continuity(pictures, truth, known).abs().view(many, -1).mean(0)
            found[arm]["seam"].append(seam)
            found[arm]["hole error"].append(hole_error(pictures, truth, known).view(many, -1).mean(0))
        for i in range(0, len(text), max(1, len(chosen) // 2)):
            shown = truth[i].where(known[i], torch.zeros(()))
            rows.append([shown, *(filled[arm][i] for arm in arms), truth[i]])
            labels.append(text[i])
    return _outcome(task, setting, found, (rows, labels), origin)


def _outcome(
    task: Task,
    setting: Setting,
    found: dict[str, dict[str, list[Tensor]]],
    shown: tuple[list[list[Tensor]], list[str]],
    origin: str,
) -> Outcome:
    ours, other = ({m: torch.cat(v).numpy() for m, v in measures.items()} for measures in found.values())
    required = [compare(m, ours[m], other[m], "smaller", "picture") for m in ours]
    decided, measured = verdict(required), "; ".join(map(str, required))
    section = task.page.section(
        "Holes filled from captions: GLIDE",
        "Held-out emoji with a part hidden (grey), filled with their names as captions.",
    )
    section.pictures(["given", *found, "truth"], shown[0][:9], row_labels=shown[1][:9])
    cells = [[summarize(values) for values in arm.values()] for arm in (ours, other)]
    table = [[name, *(Estimate(c.mean, c.sd) for c in row)] for name, row in zip(found, cells, strict=True)]
    section.table(
        ["network", *ours], table, "Mean and standard deviation over pictures, each averaged over its masks."
    )
    section.note(f"The inpainting network: {origin}. Its training is not repeated over the seeds.")
    claim = GlideInpaint.paper.claim
    section.settings(
        {"steps": setting.method.steps, "scale": setting.method.guidance_scale, "seeds": list(task.seeds)}
    )
    section.claim(claim, measured, decided)
    return Outcome(
        "glide-inpaint",
        claim,
        measured,
        decided,
        {
            "required": {c.what: c.to_dict() for c in required},
            **{
                arm: {m: float(torch.cat(v).mean()) for m, v in measures.items()}
                for arm, measures in found.items()
            },
        },
        {"effort": task.effort, "seeds": list(task.seeds), "network": origin},
    )
