"""The training loop. What it computes is decided by the recipe alone; when it stops is not."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from headwater.atomic import sweep
from headwater.errors import UserError, need
from headwater.models.prior import Prior
from headwater.noise import derive
from headwater.training import checkpoint, page, sheet
from headwater.training.drive import NotFiniteError, Progress, drive
from headwater.training.journal import Journal, read
from headwater.training.pictures import gather
from headwater.training.processes import Processes, processes
from headwater.training.recipe import Recipe
from headwater.training.stop import Stop
from headwater.training.training import Training, build

_EXEMPT = ("log_every", "sample_every", "checkpoint_every", "keep", "sharded")
"""Fields that may differ on resume: they leave the weights alone."""
_SHEET = 12
"""Purpose of the seed that draws sample sheets."""


def fit(
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    max_minutes: float | None = None,
    device: str = "cpu",
    progress: bool = True,
    on_error: Literal["stop", "skip"] = "stop",
) -> Prior:
    """Train a prior as the recipe says; returns it with its averaged weights.

    Writes into `out`: recipe.yaml, log.jsonl, checkpoints/, samples/, skipped.json where files were left
    out, and at the end prior/ (the result) and index.html (the report). Under torchrun each process
    computes its share of every batch; `out` must be a folder that all of them see.

    resume: go on from the newest whole checkpoint, if there is one; on the CPU the weights are then
        bit-identical to those of a training that was never interrupted.
    max_minutes: stop after this time with a checkpoint, as Ctrl-C does; what was computed does not
        depend on it.
    on_error: whether a picture that cannot be read stops the training or is left out and listed.
    Raises UserError for data, folders, recipes or losses that make going on impossible; checkpoints
    written before stay whole.
    """
    out = Path(out)
    try:
        with processes(device) as team:
            return _fit(recipe, out, team, resume, max_minutes, progress and team.first, on_error)
    except OSError as error:
        raise UserError(
            f"cannot write to {out} ({error.strerror or error}): free space or choose another folder, "
            "then resume"
        ) from error


def _fit(
    recipe: Recipe,
    out: Path,
    team: Processes,
    resume: bool,
    max_minutes: float | None,
    progress: bool,
    on_error: Literal["stop", "skip"],
) -> Prior:
    folder = out / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    found = checkpoint.newest(folder)
    need(resume or found is None, f"{out} already holds a training: resume it or choose another folder")
    saved = checkpoint.about(found) if found else None
    if saved is not None:
        _same_recipe(recipe, Recipe.from_dict(saved["recipe"]), out)
    pictures = gather(recipe, on_error, progress)
    training = build(recipe, pictures, team)
    now = Progress()
    if found is not None and saved is not None:
        had = saved.get("pictures", len(pictures.images))
        need(
            had == len(pictures.images),
            f"{recipe.data} had {had} pictures when the training began and has {len(pictures.images)} now: "
            "put the same pictures there or start in another folder",
        )
        checkpoint.restore(found, training.state)
        now = Progress(saved["step"], saved["seconds"], saved["losses"], saved["norms"])
    journal = Journal(out / "log.jsonl", now.step) if team.first else None
    writer = Writer(training, out, journal) if team.first or training.spread else None
    if team.first and writer:
        writer.opening()
    with Stop() as stop:
        try:
            finished = drive(training, now, writer, stop, max_minutes, progress)
        except NotFiniteError as error:
            raise UserError(f"{error}: lower lr or use precision fp32; {_last_good(folder)}") from None
    prior = _with_card(training, now)
    if finished and team.first and writer:
        writer.result(now, prior)
    return prior


@dataclass(frozen=True)
class Writer:
    """Everything that a training leaves on disk.

    The first process has the only one; where weights are spread, all have one and help to collect them.
    """

    training: Training
    out: Path
    journal: Journal | None
    """That of the first process."""

    def opening(self) -> None:
        """The recipe, and the files that were left out; what a kill left half-written goes."""
        sweep(self.out)
        self.training.recipe.save(self.out / "recipe.yaml")
        skipped = self.training.feed.pictures.skipped
        if skipped:
            lines = {s.name: s.reason for s in skipped}
            (self.out / "skipped.json").write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")

    def checkpoint(self, now: Progress) -> None:
        """The checkpoint of this step."""
        about = {
            "recipe": self.training.recipe.to_dict(),
            "pictures": len(self.training.feed.pictures.images),
            **now.to_dict(),
            "versions": {"torch": torch.__version__},
        }
        keep = self.training.recipe.keep
        writes = self.training.processes.first
        checkpoint.save(self.out / "checkpoints", now.step, self.training.state, about, keep, writes)

    def log(self, line: dict[str, Any]) -> None:
        """One line of the log."""
        if self.journal:
            self.journal.write(line)

    def look(self, step: int) -> bool:
        """A sheet of what the average draws, always from the same noise, when it is time for one."""
        every = self.training.recipe.sample_every
        if not every or step % every or self.training.spread:
            return False
        images = sheet.draw(self.training.prior, 32, derive(self.training.recipe.seed, _SHEET))
        sheet.write(self.out / "samples" / f"step-{step:08d}.png", images)
        return True

    def result(self, now: Progress, prior: Prior) -> None:
        """The prior and the report."""
        recipe = self.training.recipe
        prior.save_pretrained(self.out / "prior")
        drawn = sheet.draw(prior, 64, derive(recipe.seed, _SHEET))
        sheet.write(self.out / "samples" / "final.png", drawn)
        lines = read(self.out / "log.jsonl")
        command = f"headwater fit prior {recipe.data} --out {self.out}"
        pictures = self.training.feed.pictures
        page.write(self.out / "index.html", recipe, prior, pictures, lines, drawn, command)


def _same_recipe(recipe: Recipe, saved: Recipe, out: Path) -> None:
    mine, theirs = _flat(recipe.to_dict()), _flat(saved.to_dict())
    for name in dict.fromkeys([*mine, *theirs]):
        if name not in _EXEMPT and mine.get(name) != theirs.get(name):
            raise UserError(
                f"{name} is {mine.get(name)!r} but the training in {out} has {theirs.get(name)!r}: "
                "resume with the same recipe or choose another folder"
            )


def _last_good(checkpoints: Path) -> str:
    good = checkpoint.newest(checkpoints)
    return f"the last good checkpoint is {good}" if good else "there is no checkpoint yet"


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def _with_card(training: Training, now: Progress) -> Prior:
    r, pictures = training.recipe, training.feed.pictures
    about = {
        "name": f"{Path(r.data).name} {r.shape[1]}x{r.shape[2]}",
        "data": r.data,
        "split": r.split,
        "licence": pictures.licence or "that of the pictures",
        "pictures": len(pictures.images),
        "steps": now.step,
        "images_seen": now.step * r.batch,
        "minutes": round(now.seconds / 60, 1),
        "recipe": r.to_dict(),
    }
    return Prior(training.whole_average(), replace(training.prior.config, about=about))
