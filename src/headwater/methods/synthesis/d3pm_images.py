"""D3PM on pictures: draw quantised pictures by undoing random changes of grey values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from headwater.core import White, descend, last, reverse
from headwater.core.discrete import Discrete, Mixture, absorbing, discretised_gaussian, uniform
from headwater.core.discrete_denoiser import DiscreteDenoiser, bits, bound
from headwater.core.noise import derive
from headwater.core.schedule import betas, reciprocal
from headwater.errors import need
from headwater.methods.base import Images, Method, Paper, Scores
from headwater.methods.saved import load_network, save_network
from headwater.methods.text.d3pm import D3PM
from headwater.nets.adm import UNet, UNetConfig
from headwater.nets.categorical_unet import PixelLogistic, PixelLogits
from headwater.run import Run
from headwater.train.discrete import fit_discrete
from headwater.train.optimisation import Optimisation, batch_rows

Chain = Literal["gaussian", "uniform", "absorbing"]
Head = Literal["logistic", "logits"]

_KIND = "d3pm-images"
_WEIGHTS, _FLIPS, _DRAW, _MEASURE = 0x4433_4931, 0x4433_4932, 0x4433_4933, 0x4433_4934
"""Purposes of seeds: first weights, flips, drawing, the bound."""


def quantised(image: Tensor, K: int) -> Tensor:
    """Pictures in [-1, 1] as the nearest of K even values, int64 of the same shape."""
    return ((image.clamp(-1, 1) + 1) * (K - 1) / 2).round().long()


def pictures(x: Tensor, K: int) -> Tensor:
    """Values 0 .. K-1 as float32 pictures in [-1, 1]."""
    return x.float() * (2 / (K - 1)) - 1


@dataclass(frozen=True, eq=False)
class FittedD3PMImages:
    """Network and chain: what `D3PMImages.fit` returns. shape: (C, H, W) of the pictures."""

    network: nn.Module
    shape: tuple[int, int, int]
    about: dict[str, Any]
    """K, T, chain, head, mixture and the sizes of the U-Net."""

    @cached_property
    def process(self) -> Discrete:
        return _chain(self.about["chain"], self.about["K"], self.about["T"], self.about["mixture"])

    @cached_property
    def denoiser(self) -> DiscreteDenoiser:
        return DiscreteDenoiser(self.network, self.process)

    def save(self, folder: str | Path) -> None:
        """Write weights and sizes, whole or not at all."""
        save_network(folder, self.network, {"kind": _KIND, "shape": list(self.shape), **self.about})

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> FittedD3PMImages:
        """Read what `save` wrote. Raises UserError for a folder that is damaged or another method's."""
        network, about = load_network(folder, _build, _KIND, device)
        C, H, W = (int(n) for n in about["shape"])
        kept = {k: v for k, v in about.items() if k in ("K", "T", "chain", "head", "mixture", "unet")}
        return cls(network, (C, H, W), kept)


@dataclass(frozen=True)
class D3PMImages(Method):
    """`D3PM` with grey values for characters (Austin et al. 2021, sec. 6): same chain of thought, same loss.

    gaussian: a value turns into near ones, with a width that grows with beta (eq. 8; the paper's width K - 1,
    which for few values is not that of the authors' code). absorbing: into the middle grey, which is also an
    ordinary value. The head `logistic` predicts place and width of a logistic law on the values, `logits` one
    number per value plus 1 at the present one.

    Deviates from the authors' code as `D3PM` does.
    """

    paper: ClassVar[Paper] = D3PM.paper
    needs: ClassVar[tuple[str, ...]] = ("pictures of one size",)
    applied: ClassVar[tuple[str, ...]] = ("steps", "levels")

    K: int = 256
    """Grey values."""
    chain: Chain = "gaussian"
    T: int = 1000
    """Levels of the chain."""
    head: Head = "logistic"
    auxiliary: float = 0.001
    """Weight of the cross entropy in the hybrid loss; 0 leaves the bound alone."""
    mixture: Mixture = "paper"
    width: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 2
    """Residual blocks per resolution."""
    attention: tuple[int, ...] = (2,)
    """Downsampling factors with attention; for 32 x 32 pictures the paper's 16 x 16."""
    dropout: float = 0.1
    flips: bool = True
    """Mirror half of the pictures while training."""
    training: Optimisation = field(
        default_factory=lambda: Optimisation(1_500_000, 128, 2e-4, warmup=5000, grad_clip=1.0, ema=0.9999)
    )
    steps: int = 1000
    """Levels visited when a picture is drawn, at most T."""
    levels: int = 128
    """Steps at which the bound is evaluated, one drawn from each of so many even parts."""

    def fit(self, image: Images, run: Run | None = None) -> FittedD3PMImages:
        """Learn from pictures (B, C, H, W) in [-1, 1]. Raises UserError for sizes that cannot be."""
        run = run or Run()
        need(self.K >= 2 and self.T >= 1, "a chain needs 2 values and 1 level or more: raise K or T")
        need(len(image) > 0, "there are no pictures")
        C, H, W = (int(n) for n in image.shape[1:])
        about = {"K": self.K, "T": self.T, "chain": self.chain, "head": self.head, "mixture": self.mixture}
        about["unet"] = {
            "in_channels": C,
            "model_channels": self.width,
            "out_channels": C * (2 if self.head == "logistic" else self.K),
            "num_res_blocks": self.blocks,
            "attention_resolutions": list(self.attention),
            "channel_mult": list(self.multipliers),
            "dropout": self.dropout,
        }
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive(run.seed, _WEIGHTS))
                network = _build(about)
        except ValueError as error:
            need(False, str(error))
            raise
        fitted = FittedD3PMImages(network, (C, H, W), about)
        x0 = quantised(image, self.K)

        def batch(step: int) -> Tensor:
            some = x0[batch_rows(run.seed, len(x0), self.training.batch, step)]
            generator = torch.Generator().manual_seed(derive(run.seed, _FLIPS, step))
            mirrored = self.flips & (torch.rand(len(some), generator=generator) < 0.5)
            return torch.where(mirrored[:, None, None, None], some.flip(-1), some)

        denoiser = replace(fitted.denoiser, auxiliary=self.auxiliary)
        learnt = {k: v for k, v in asdict(self).items() if k not in ("steps", "levels", "training")}
        trained = fit_discrete(denoiser, batch, self.training, run, learnt)
        return replace(fitted, network=trained)

    def write(self, n: int, fitted: FittedD3PMImages, run: Run | None = None) -> Images:
        """n new pictures (n, C, H, W) in [-1, 1]. Picture i depends on run.seed and i alone."""
        run, q, done = run or Run(), fitted.process, []
        plan = self.plan(q.T)
        for rows, part in run.chunks(n):
            noise = part.stream(rows.stop - rows.start, White(), _DRAW)
            like = torch.zeros(rows.stop - rows.start, *fitted.shape, dtype=torch.int64, device=run.device)
            with torch.inference_mode():
                walk = reverse(fitted.denoiser, q.start(like, noise), plan, noise=noise)
                done.append(last(part.watch(walk, len(plan) - 1, f"pictures {rows.stop}")).cpu())
        return pictures(torch.cat(done), q.K)

    def bits(self, image: Images, fitted: FittedD3PMImages, run: Run | None = None) -> Scores:
        """Bits per channel of each pixel at most, (B,), of pictures (B, C, H, W) in [-1, 1]."""
        run, plan, found = run or Run(), self.plan(fitted.process.T), []
        need(image.shape[1:] == fitted.shape, f"these pictures are not {fitted.shape}: resize them")
        for rows, part in run.chunks(len(image)):
            x0 = quantised(image[rows], fitted.process.K).to(run.device)
            noise = part.stream(len(x0), White(), _MEASURE)
            with torch.inference_mode():
                found.append(bits(bound(fitted.denoiser, x0, plan, noise, self.levels)).float().cpu())
        return torch.cat(found)

    def plan(self, T: int) -> list[int]:
        """The levels visited on a chain of T. Raises UserError for more steps than levels."""
        need(1 <= self.steps <= T, f"there are {T} levels: set steps between 1 and {T}")
        return descend(T, self.steps)


def _chain(kind: str, K: int, T: int, mixture: Mixture) -> Discrete:
    if kind == "uniform":
        return uniform(K, betas("cosine_unsquared", T), mixture)
    if kind == "absorbing":
        return absorbing(K, reciprocal(T), K // 2, mixture)
    return discretised_gaussian(K, betas("linear", T).clamp(max=1), mixture)


def _build(about: dict[str, Any]) -> nn.Module:
    """The network of a description. Raises KeyError or ValueError for one that cannot be."""
    known = {"chain": ("gaussian", "uniform", "absorbing"), "mixture": ("paper", "exact")}
    for name, values in known.items():
        if about[name] not in values:
            raise ValueError(f"{name} is {about[name]!r}")
    sizes: Sequence[int] = (about["K"], about["T"])
    if any(type(n) is not int or not 1 <= n <= 100_000 for n in sizes):
        raise ValueError("K and T are whole numbers")
    if about["chain"] == "gaussian" and about["T"] * about["K"] ** 2 > 2**28:
        raise ValueError("a Gaussian chain keeps T K x K matrices: choose fewer values or levels")
    heads = {"logistic": PixelLogistic, "logits": PixelLogits}
    return heads[about["head"]](UNet(UNetConfig(**about["unet"])), about["K"])
