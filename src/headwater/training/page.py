"""The report of a training: what the prior draws, how its loss fell, what it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headwater.models.prior import Prior
from headwater.report import Page
from headwater.training.feed import Pictures, Rows
from headwater.training.recipe import Recipe


def some(images: Rows, n: int) -> Tensor:
    """n pictures spread evenly over a set, (n, C, H, W)."""
    n = min(n, len(images))
    return images[torch.arange(n) * len(images) // n]


def write(
    path: Path,
    recipe: Recipe,
    prior: Prior,
    pictures: Pictures,
    lines: Sequence[Mapping[str, Any]],
    drawn: Tensor,
    command: str,
) -> None:
    """Write the page. lines: the log; drawn: samples (N, C, H, W) in [-1, 1]."""
    about = prior.config.about
    name = Path(recipe.data).name
    page = Page(f"A prior of {name}", f"Trained for {about['steps']} steps on {about['pictures']} pictures")
    page.highlight("loss", lines[-1]["loss"] if lines else float("nan"), "mean of the last steps")
    page.highlight("pictures seen", about["images_seen"])
    page.highlight("minutes", about["minutes"])
    sheet = page.section("What it draws", "Samples of the averaged weights beside pictures it learned from.")
    sheet.contact_sheet(_shown(drawn), caption="Samples, 25 DDIM steps, not selected")
    sheet.contact_sheet(_shown(some(pictures.images, len(drawn))), caption="Training pictures")
    if lines:
        course = page.section("How it went")
        steps = [float(line["step"]) for line in lines]
        losses = [float(line["loss"]) for line in lines]
        course.curve({"loss": (steps, losses)}, x="step", y="loss", y_axis="log", caption="Loss per log line")
        norms = [float(line["grad_norm"]) for line in lines]
        course.curve({"gradient norm": (steps, norms)}, x="step", y="norm", caption="Before clipping")
    if pictures.skipped:
        left = page.section("Left out", "Files that could not be read.")
        left.table(["file", "reason"], [[s.name, s.reason] for s in pictures.skipped])
    page.section("Settings").settings(recipe.to_dict())
    page.provenance(command, [recipe.seed], about["minutes"] * 60, recipe.to_dict())
    page.write(path)


def _shown(images: Tensor) -> Tensor:
    """Only gray and RGB can be shown: other pictures show their first channel."""
    return images if images.shape[1] in (1, 3) else images[:, :1]
