"""Training a prior of pictures: what a recipe says, and what it leaves on disk.

Every random number is a pure function of (seed, purpose, step, index in the step's items).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from headwater.atomic import sweep
from headwater.data import augment
from headwater.errors import need
from headwater.models.prior import Prior
from headwater.noise import Purpose, derive
from headwater.sampling import Run
from headwater.training import checkpoint, page
from headwater.training.dropout import Keys, install
from headwater.training.journal import read
from headwater.training.pictures import Pictures, gather
from headwater.training.processes import Processes, processes
from headwater.training.recipe import Recipe
from headwater.training.timesteps import keyed, stratified
from headwater.training.trainer import Trainer, train, writing

# Purposes separate the uses of one seed; their numbers are part of what makes a run repeatable.
_GAMMA = 5.0
"""Min-SNR's clamp (Hang et al. 2023, sec. 3.4)."""


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

    Writes into `out`: recipe.yaml, checkpoints/ with log.jsonl, samples/, skipped.json where files were left
    out, and at the end prior/ (the result) and index.html (the report). Under torchrun each process
    computes its share of a step's batches; `out` must be a folder that all of them see.

    resume: go on from the newest whole checkpoint, if there is one; on the CPU the weights are then
        bit-identical to those of a training that was never interrupted.
    max_minutes: stop after this time with a checkpoint, as Ctrl-C does, and raise OutOfTime; what was
        computed does not depend on it.
    on_error: whether a picture that cannot be read stops the training or is left out and listed.
    Raises UserError for data, folders, recipes or losses that make going on impossible; checkpoints
    written before stay whole.
    """
    out = Path(out)
    kept = out / "checkpoints"
    with writing(out), processes(device) as team:
        kept.mkdir(parents=True, exist_ok=True)
        found = checkpoint.newest(kept)
        need(resume or found is None, f"{out} already holds a training: resume it or choose another folder")
        pictures = gather(recipe, on_error, progress and team.first)
        learner = Learner.of(recipe, pictures)
        if team.first:
            _opening(out, recipe, pictures, found is None)

        def samples(network: nn.Module, step: int) -> None:
            if recipe.sample_every and step % recipe.sample_every == 0:
                drawn = page.samples(
                    replace(learner.prior, network=network), 32, derive(recipe.seed, Purpose.SAMPLES)
                )
                page.save_samples(out / "samples" / f"step-{step:08d}.png", drawn)

        network = train(
            learner.prior.network, learner.loss, len(pictures.images), recipe.training,
            Run(recipe.seed, device=str(team.device), progress=progress, checkpoint_dir=kept),
            {**recipe.to_dict(), "pictures": len(pictures.images), "content": pictures.content},
            max_minutes=max_minutes, after=samples,
        )  # fmt: skip
        prior = learner.result(
            network, checkpoint.about(checkpoint.folder_of(kept, recipe.training.steps))["seconds"]
        )
        if team.first:
            sweep(out)  # what a kill left half-written
            prior.save_pretrained(out / "prior")
            drawn = page.samples(prior, 64, derive(recipe.seed, Purpose.SAMPLES))
            page.save_samples(out / "samples" / "final.png", drawn)
            command = f"headwater fit prior {recipe.data} --out {out}"
            page.write(out / "index.html", recipe, prior, pictures, read(kept / "log.jsonl"), drawn, command)
        return prior


def level_weights(recipe: Recipe, half_log_snr: Tensor) -> Tensor:
    """Weight of each timestep's loss, (T+1,) float32, for the network's own target.

    half_log_snr: (T+1,) float64, as `Diffusion.half_log_snr`. min-snr is min(snr, 5) in units of the x0
    error, so divided by snr for eps and by snr + 1 for v (Hang et al. 2023, eq. 8 and sec. 3.4). Entry 0
    is never used.
    """
    snr = (2 * half_log_snr).exp()
    snr[0] = 1.0
    if recipe.weighting == "simple":
        return torch.ones_like(snr, dtype=torch.float32)
    clamped = snr.clamp(max=_GAMMA)
    by = {"x0": torch.ones_like(snr), "eps": snr, "v": snr + 1}[recipe.predicts]
    # Where nothing of the picture is left snr is 0, and so is min(snr, 5).
    return torch.where(snr == 0, float(recipe.predicts == "eps"), clamped / by).float()


@dataclass(frozen=True)
class Batch:
    """Clean pictures, timesteps, noise, conditions of the network, dropout keys."""

    x0: Tensor
    t: Tensor
    eps: Tensor
    cond: dict[str, Tensor]
    keys: Tensor


@dataclass(frozen=True)
class Learner:
    """A fresh prior and the loss of its network; both depend on the recipe alone."""

    recipe: Recipe
    pictures: Pictures
    prior: Prior
    keys: Keys
    weights: Tensor
    """Weight of each timestep's loss, (T+1,)."""

    @classmethod
    def of(cls, recipe: Recipe, pictures: Pictures) -> Learner:
        """Raises UserError where the recipe's parts do not fit each other."""
        config = recipe.prior_config(pictures.classes)
        process, _ = config.process.build(), config.law()
        sayable = recipe.predicts not in ("eps", "score") or bool(process.alpha[-1] > 0)
        need(sayable, f"{recipe.predicts} says nothing about a level of pure noise: choose predicts v or x0")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(recipe.seed, Purpose.WEIGHTS))
            network = config.build_network()
        keys = install(network)
        return cls(
            recipe, pictures, Prior(network, config), keys, level_weights(recipe, process.half_log_snr)
        )

    def trainer(self, team: Processes) -> Trainer:
        """For those who take the steps one by one."""
        r, items = self.recipe, len(self.pictures.images)
        return Trainer(self.prior.network, self.loss, items, r.training, r.seed, team)

    def loss(self, network: nn.Module, rows: Tensor, number: int) -> Tensor:
        """The recipe's loss of pictures `rows` as batch `number`."""
        device = next(network.parameters()).device
        with torch.autocast(device.type, enabled=False):  # precision is the network's
            batch = self.batch(rows, number)
        self.keys.value = batch.keys.to(device)
        cond = {k: v.to(device) for k, v in batch.cond.items()}

        def call(x: Tensor, label: Tensor, **cond: Any) -> Tensor:
            if self.recipe.training.channels_last:
                x = x.contiguous(memory_format=torch.channels_last)
            return network(x, label, **cond)

        denoiser = replace(self.prior.denoiser, network=call, error=self.recipe.error)
        losses = denoiser.loss(batch.x0.to(device), batch.t.to(device), batch.eps.to(device), **cond)
        return (losses * self.weights[batch.t].to(device)).mean()

    def batch(self, rows: Tensor, number: int) -> Batch:
        """What batch `number` sees, on the CPU: places first .. first + len(rows) - 1 of its step's items."""
        r, parts = self.recipe, self.recipe.training.grad_accumulation
        step, part = divmod(number, parts)
        places = range(part * r.training.batch_size, part * r.training.batch_size + len(rows))
        x0 = self._augment(self.pictures.images[rows], step, places)
        t = self._timesteps(step, places)
        noise = self.prior.noise.stream([derive(r.seed, Purpose.NOISE, step, j) for j in places])
        keys = torch.tensor([derive(r.seed, Purpose.DROPOUT, step, j) for j in places])
        return Batch(x0, t, noise(x0, t), self._cond(rows, step, places), keys)

    def result(self, network: nn.Module, seconds: float) -> Prior:
        """The prior of trained weights, with its card."""
        r, pictures = self.recipe, self.pictures
        steps, size = r.training.steps, r.training.batch_size * r.training.grad_accumulation
        about = {
            "name": f"{Path(r.data).name} {r.shape[1]}x{r.shape[2]}",
            "data": r.data,
            "split": r.split,
            "licence": pictures.licence or "that of the pictures",
            "pictures": len(pictures.images),
            "steps": steps,
            "images_seen": steps * size,
            "minutes": round(seconds / 60, 1),
            "recipe": r.to_dict(),
        }
        plain = self.prior.config.build_network()  # with the usual dropout
        plain.load_state_dict(network.state_dict())
        return Prior(plain.eval().requires_grad_(False), replace(self.prior.config, about=about))

    def _timesteps(self, step: int, places: range) -> Tensor:
        r, T = self.recipe, self.prior.process.T
        if r.timesteps == "uniform":
            return keyed([derive(r.seed, Purpose.TIMESTEP, step, j) for j in places], T)
        place = torch.tensor(derive(r.seed, Purpose.TIMESTEP, step) / 2**63, dtype=torch.float64)
        return stratified(r.training.batch_size * r.training.grad_accumulation, T, place)[
            places.start : places.stop
        ]

    def _augment(self, x0: Tensor, step: int, places: range) -> Tensor:
        r = self.recipe
        if "brain" in r.augment:
            generator = torch.Generator()
            changed = []
            for image, j in zip(x0, places, strict=True):
                generator.manual_seed(derive(r.seed, Purpose.AUGMENT, step, j))
                changed.append(augment.brain(image, generator))
            x0 = torch.stack(changed)
        if "hue" in r.augment:
            angles = [derive(r.seed, Purpose.HUE, step, j) / 2**63 * 360 for j in places]
            x0 = augment.rotate_hue(x0, torch.tensor(angles))
        if "flip" in r.augment:
            flip = torch.tensor([derive(r.seed, Purpose.FLIP, step, j) % 2 == 1 for j in places])
            x0 = torch.where(flip[:, None, None, None], x0.flip(-1), x0)
        return x0

    def _cond(self, rows: Tensor, step: int, places: range) -> dict[str, Tensor]:
        r, labels = self.recipe, self.pictures.labels
        if not r.class_conditional or labels is None:
            return {}
        hidden = [derive(r.seed, Purpose.LABEL, step, j) / 2**63 < r.label_dropout for j in places]
        return {"y": torch.where(torch.tensor(hidden), len(self.pictures.classes), labels[rows])}


def _opening(out: Path, recipe: Recipe, pictures: Pictures, new: bool) -> None:
    """The recipe, and the files that were left out. Raises UserError where a user's file is in the way."""
    path, page = out / "recipe.yaml", out / "index.html"
    same = path.is_file() and Recipe.load(path) == recipe
    if new:
        need(same or not path.exists(), f"{path} is another recipe: choose another folder")
        need(not page.exists(), f"{page} is there already: choose another folder")
    if not same:  # what the user wrote keeps its comments
        recipe.save(path)
    if new and pictures.skipped:
        lines = {s.name: s.reason for s in pictures.skipped}
        (out / "skipped.json").write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
