"""The report of a training: what the prior draws, how its losses fell, what it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from headwater.core import DDIM
from headwater.core.timesteps import respaced
from headwater.models.prior import Prior
from headwater.report import Page
from headwater.training.journal import read
from headwater.training.pictures import Pictures, Rows
from headwater.training.recipe import Recipe


def samples(prior: Prior, n: int, seed: int, steps: int = 25) -> Tensor:
    """n pictures (n, C, H, W) in [-1, 1] by few-step DDIM; classes in turn for a conditional prior."""
    classes = len(prior.config.classes)
    conditions = {"y": torch.arange(n) % classes} if classes else None
    T = prior.process.T
    plan = respaced(T, min(steps, T))
    device = str(next(prior.network.parameters()).device)
    training = prior.network.training
    prior.network.eval()
    try:
        return prior.sample(n, plan, DDIM(), conditions, seed=seed, device=device, progress=False).float()
    finally:
        prior.network.train(training)


def grid(images: Tensor, columns: int = 8) -> Image.Image:
    """Pictures (N, C, H, W) in [-1, 1] side by side; channels beyond gray or RGB are left out."""
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    colours = 3 if channels >= 3 else 1
    picture = torch.full((colours, rows * height, columns * width), -1.0)
    for i, image in enumerate(images):
        top, left = i // columns * height, i % columns * width
        picture[:, top : top + height, left : left + width] = image[:colours]
    pixels = ((picture.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0)
    return Image.fromarray(pixels.squeeze(-1).numpy())


def save_samples(path: Path, images: Tensor) -> None:
    """Save pictures (N, C, H, W) in [-1, 1] as one PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grid(images).save(path)


def curves(page: Page, lines: Sequence[Mapping[str, Any]], name: str = "") -> None:
    """The losses, on trained and on held-out items, and the gradient's norm of the lines of a log."""
    course = page.section(f"How it went: {name}" if name else "How it went")
    names = {"loss": "loss", "held_out": "held-out loss", "adversary_loss": "adversary's loss"}
    told = {said: [(line["step"], line[key]) for line in lines if key in line] for key, said in names.items()}
    losses = {
        said: ([float(s) for s, _ in pairs], [float(v) for _, v in pairs]) for said, pairs in told.items()
    }
    shown = {said: pair for said, pair in losses.items() if pair[0]}
    positive = all(value > 0 for _, values in shown.values() for value in values)
    course.curve(
        shown, x="step", y="loss", y_axis="log" if positive else "linear", caption="Losses per log line"
    )
    steps, norms = ([float(line[key]) for line in lines] for key in ("step", "grad_norm"))
    course.curve({"gradient norm": (steps, norms)}, x="step", y="norm", caption="Before clipping")


def write_curves(out: Path, title: str, settings: Any) -> None:
    """OUT/index.html with the curves of every log.jsonl below OUT; nothing where there is none.

    settings: a dataclass, shown at the end.
    """
    logs = {path: lines for path in sorted(out.rglob("log.jsonl")) if (lines := read(path))}
    if not logs:
        return
    page = Page(title, f"{sum(lines[-1]['step'] for lines in logs.values())} steps")
    for path, lines in logs.items():
        name = path.parent.name if len(logs) > 1 else ""
        page.highlight(f"loss {name}".strip(), lines[-1]["loss"], "mean of the last steps")
        curves(page, lines, name)
    page.section("Settings").settings(asdict(settings))
    page.write(out / "index.html")


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
    pair = page.section("What it draws", "Samples of the averaged weights beside pictures it learned from.")
    pair.contact_sheet(_shown(drawn), caption="Samples, 25 DDIM steps, not selected")
    pair.contact_sheet(_shown(some(pictures.images, len(drawn))), caption="Training pictures")
    if lines:
        curves(page, lines)
    if pictures.skipped:
        left = page.section("Left out", "Files that could not be read.")
        left.table(["file", "reason"], [[s.name, s.reason] for s in pictures.skipped])
    page.section("Settings").settings(recipe.to_dict())
    page.provenance(command, [recipe.seed], about["minutes"] * 60, recipe.to_dict())
    page.write(path)


def _shown(images: Tensor) -> Tensor:
    """Only gray and RGB can be shown: other pictures show their first channel."""
    return images if images.shape[1] in (1, 3) else images[:, :1]
