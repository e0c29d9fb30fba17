"""A trained prior: network, process and the meaning of the network's output, in one object."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Unpack

import torch
from torch import Tensor

from headwater.controls import Clip
from headwater.core import Ancestral, Control, Denoiser, Diffusion, DPMSolver, Sampler
from headwater.core.timesteps import log_snr
from headwater.errors import need
from headwater.models.config import PriorConfig
from headwater.models.filling import Parts
from headwater.models.pretrained import Pretrained
from headwater.nets.tiles import Tiled
from headwater.noise import Noise
from headwater.sampling import Batch, Run, RunOptions, Start, sample, sampler_of, timesteps_of
from headwater.sampling.choices import SamplerName

ECONOMICAL = 50
"""Network calls of `Prior.economical`."""


@dataclass(frozen=True, eq=False)
class Prior(Pretrained):
    """One diffusion model over pictures (C, H, W) in [-1, 1].

    network: the raw module, network(x, labels, y=...); config: everything else about it.

    >>> prior = hw.Prior.from_pretrained("digits")
    >>> prior.sample(2, 3, seed=0).shape
    torch.Size([2, 1, 32, 32])
    """

    config: PriorConfig

    kind = "prior"
    tags = ("unconditional-image-generation",)
    home = "headwater"
    example = ("pictures = prior.sample(16)",)
    frozen = False

    @classmethod
    def networks(cls, config: PriorConfig) -> Parts:
        return {"network": config.build_network()}

    @classmethod
    def from_pretrained(
        cls,
        where: str | os.PathLike[str],
        *,
        revision: str | None = None,
        device: str = "cpu",
        **overrides: Any,
    ) -> Prior:
        """Read a prior, ready to sample; nothing in it is run.

        where: a folder of ours, a diffusers folder (UNet2DModel) or the weights in it, a guided-diffusion
        weights file, the name of a shipped prior, or a hub name `org/name`, of which `revision` picks a
        branch, tag or commit. What such a place does not say and is taken for granted is noted
        (`headwater.notes`).
        overrides: what the checkpoint does not say: fields of the network (`num_heads=`,
        `num_head_channels=`, `use_new_attention_order=`, ...), of the process (`T=`, `betas=`, `low=`,
        `high=`), `scheduler=`, a scheduler_config.json of diffusers that says the process and `predicts`, and
        `shape=`, `predicts=`, `variance=`, `noise=`, `clip=`, `classes=`, and `label=`, the class that a
        network of classes is told where nobody says which.

        Raises UserError, in one sentence, when there is no such prior, it is broken, or an override is
        unknown.
        """
        from headwater.models.sources import load

        return load(where, revision, overrides).to(device)

    def ready(self) -> None:
        """Raise UserError where the network wants a class, nobody says which, and none was chosen."""
        count = self.config.class_count
        need(
            count == 0 or self.config.told is not None,
            f"this prior draws pictures of {count} classes and nobody says which: choose one when it is "
            "read, Prior.from_pretrained(..., label=NUMBER), or for good, headwater convert PRIOR NEW "
            "--label NUMBER",
        )

    def tiled(self, height: int, width: int, overlap: float = 0.5) -> Prior:
        """The same prior for pictures of height x width pixels, at least as large as its own: every method
        works at that size, and the network is asked for each tile of the size that it was trained on.

        overlap: the share of a side by which neighbouring tiles overlap at least; their answers are blended
        in every step. It draws what looks right within a tile and between neighbours, not a scene larger than
        one. It is for use, and is not saved. Raises UserError for a smaller size.

        >>> prior = hw.Prior.from_pretrained("photos")
        >>> prior.tiled(40, 48).sample(1, 3, seed=0, progress=False).shape
        torch.Size([1, 3, 40, 48])
        """
        channels, *own = self.shape
        need(
            height >= own[0] and width >= own[1],
            f"tiles are {own[0]} x {own[1]} and the size asked for is {height} x {width}: give a larger one",
        )
        whole = not isinstance(self.network, Tiled)
        need(whole, "this prior is in tiles already: take the one that it is made of")
        network = Tiled(self.network, (own[0], own[1]), overlap)
        return replace(self, network=network, config=replace(self.config, shape=(channels, height, width)))

    def save_pretrained(self, folder: str | os.PathLike[str], dtype: torch.dtype | None = None) -> None:
        whole = not isinstance(self.network, Tiled)
        need(whole, "a prior in tiles is for use: save the one that it is made of")
        super().save_pretrained(folder, dtype)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of the pictures that it draws: those that it was trained on, unless
        `tiled`."""
        return self.config.shape

    @cached_property
    def denoiser(self) -> Denoiser:
        """The network told how to read its output."""
        return self.config.denoiser(self.network)

    @property
    def process(self) -> Diffusion:
        """The forward process."""
        return self.denoiser.process

    @cached_property
    def noise(self) -> Noise:
        """The noise law that it was trained with."""
        return self.config.law()

    @property
    def controls(self) -> list[Control]:
        """What keeps estimates within the range of the data; empty for unbounded data."""
        return [Clip()] if self.config.clip else []

    @property
    def sampler(self) -> Sampler:
        """Its own reverse step: ancestral, with the learned variance where there is one."""
        return Ancestral("small" if self.config.variance == "fixed" else "learned")

    @property
    def economical(self) -> tuple[list[int], Sampler]:
        """Plan and sampler of the fewest network calls that draw no worse than any other on every prior that
        ships, by the test of docs/performance.md."""
        return log_snr(self.process, min(ECONOMICAL, self.process.T)), DPMSolver(kind="sde")

    def described(self) -> dict[str, str]:
        config, (channels, height, width) = self.config, self.shape
        count = sum(p.numel() for p in self.network.parameters())
        return {
            "Shape": f"{channels} x {height} x {width}, values in [-1, 1]",
            "Network": f"{config.network.get('kind', 'adm')}, {count / 1e6:.2f} M parameters",
            "Process": str(config.process),
            "Output": f"{config.predicts}, variance {config.variance}",
            "Noise": config.noise.get("kind", "white"),
            "Classes": ", ".join(config.classes) or "none",
        }

    def sample(
        self,
        n: int,
        plan: Sequence[int] | int | None = None,
        sampler: Sampler | SamplerName | None = None,
        conditions: Mapping[str, Tensor] | None = None,
        **how: Unpack[RunOptions],
    ) -> Tensor:
        """Draw n pictures, (n, C, H, W) in the range of the data, in main memory.

        plan: timesteps to visit, or how many, evenly spaced (for DPM-Solver and Heun in log SNR); all by
        default. sampler: the prior's own ancestral one by default. conditions: what the network is told, such
        as `y`; tensors of n rows. Sample i depends on the seed and i alone.
        """
        run = Run(**how)
        if "y" not in (conditions or {}):
            self.ready()
        self.to(run.device)
        if isinstance(sampler, str):
            sampler = self.sampler if sampler == "ancestral" else sampler_of(sampler)
        sampler = sampler or self.sampler
        if plan is None or isinstance(plan, int):
            plan = self.timesteps(plan, sampler)

        def begin(batch: Batch) -> Start:
            told = {k: batch.take(v) for k, v in (conditions or {}).items()}
            return Start(self.process.start(batch.empty(*self.shape), batch.noise), self.controls, told)

        return sample(self.denoiser, plan, n, begin, run, sampler=sampler, law=self.noise, label="samples")

    def timesteps(self, steps: int | None, sampler: Sampler) -> list[int]:
        """So many timesteps as suit a sampler: even for `Ancestral`, else even in log SNR; all by default."""
        even = steps is None or isinstance(sampler, Ancestral)
        return timesteps_of(self.process, steps, "even" if even else "log-snr")
