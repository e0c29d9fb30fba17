"""What a prior's config.json says, and the objects it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import nn

from headwater.core import schedule
from headwater.core.denoiser import Denoiser
from headwater.core.prediction import Target, Variance
from headwater.core.process import Diffusion
from headwater.errors import UserError, need, shown
from headwater.models.schema import build, nearest
from headwater.nets.adm import UNet, UNetConfig
from headwater.nets.wrappers import OfClass, OnUnitRange, Preconditioned
from headwater.noise import Noise, PowerLaw, RandomSimplex, Simplex, Truncated, White

MOST_STEPS = 100_000
MOST_SIDE = 1 << 14
MOST_CHANNELS, MOST_LEVELS, MOST_BLOCKS = 1 << 14, 10, 64
"""Bounds on what a config may ask for; published priors stay well below them."""

_COUNTS = ("num_classes", "num_class_embeds")
"""Where the configs of networks say how many classes they know."""

NOISES: dict[str, type[Noise]] = {
    "white": White,
    "simplex": Simplex,
    "random-simplex": RandomSimplex,
    "power-law": PowerLaw,
    "truncated": Truncated,
}


@dataclass(frozen=True)
class ProcessConfig:
    """A process by its recipe. For `vp`, `betas` names a schedule or lists T numbers.

    `vp_sde` is the VP-SDE in continuous time, walked at T even times (Song et al. 2021).
    """

    kind: Literal["vp", "vp_sde", "ve", "edm", "flow"] = "vp"
    """Kind of process: variance preserving, its SDE, variance exploding, EDM's, or a straight flow."""
    T: int = 1000
    """Number of timesteps."""
    betas: str | tuple[float, ...] = "linear"
    """Noise schedule of a `vp` process: its name, or one beta a timestep."""
    low: float | None = None
    """Smallest beta (vp), rate (vp_sde) or sigma (ve, edm); None is the schedule's own."""
    high: float | None = None
    """Largest of these."""
    unit_labels: bool = False
    """Tell the network 1 instead of the noise level, which it then has to see for itself, as NCSNv2 does."""

    def __post_init__(self) -> None:
        need(1 <= self.T <= MOST_STEPS, f"process: T is {self.T}: give 1 to {MOST_STEPS} steps")
        if isinstance(self.betas, str):
            return
        same = self.kind == "vp" and len(self.betas) == self.T
        need(same, f"process: {len(self.betas)} betas for T = {self.T}: list as many as there are steps")
        need(all(0 < beta <= 1 for beta in self.betas), "process: betas must lie between 0 and 1")

    def build(self) -> Diffusion:
        """The process. Raises ValueError for an unknown schedule."""
        process = self._told()
        return replace(process, label=torch.ones_like(process.label)) if self.unit_labels else process

    def _told(self) -> Diffusion:
        """The process with its usual labels."""
        ends = {k: v for k, v in (("low", self.low), ("high", self.high)) if v is not None}
        match self.kind:
            case "vp":
                return Diffusion.vp(self.table())
            case "vp_sde":
                times = torch.arange(1, self.T + 1, dtype=torch.float64) / self.T
                return Diffusion.vp_sde(times, **ends)
            case "ve":
                return Diffusion.ve(schedule.geometric(self.T, **ends))
            case "edm":
                return Diffusion.edm(self.T, **ends)
            case "flow":
                return Diffusion.flow(self.T)

    def __str__(self) -> str:
        untold = ", unit labels" if self.unit_labels else ""
        return f"{self.kind}, T = {self.T}, {self.range()}{untold}"

    def range(self) -> str:
        """Schedule, or ends of the range, in words."""
        if self.kind != "vp":
            ends = [f"{end:g}" for end in (self.low, self.high) if end is not None]
            return " to ".join(ends) or "its usual range"
        return f"{self.betas} schedule" if isinstance(self.betas, str) else f"{len(self.betas)} betas"

    def table(self) -> torch.Tensor:
        """The betas of a `vp` process, (T,) float64."""
        if not isinstance(self.betas, str):
            return torch.tensor(self.betas, dtype=torch.float64)
        pairs = (("start", self.low), ("end", self.high))
        return schedule.betas(self.betas, self.T, **{k: v for k, v in pairs if v is not None})


@dataclass(frozen=True)
class PriorConfig:
    """Everything about a prior but its weights."""

    network: dict[str, Any]
    """`kind` ("adm", "level", "ncsnpp", or "unet2d" for diffusers' UNet2DModel), fields of its config."""
    shape: tuple[int, int, int]
    """Channels, height, width of one picture."""
    process: ProcessConfig = field(default_factory=ProcessConfig)
    predicts: Target = "eps"
    variance: Variance = "fixed"
    noise: dict[str, Any] = field(default_factory=lambda: {"kind": "white"})
    """The law that the prior was trained with: `kind` and its parameters."""
    clip: bool = True
    """Data lie in [-1, 1], so estimates of clean data are kept there."""
    classes: tuple[str, ...] = ()
    label: int | None = None
    """Number of the class that a network of classes is told where nobody says which, as methods do not."""
    about: dict[str, Any] = field(default_factory=dict)
    """Name, data, licence, metrics: what the model card says."""

    def __post_init__(self) -> None:
        plain = {k: tuple(v) if isinstance(v, list) else v for k, v in self.network.items()}
        object.__setattr__(self, "network", plain)
        sane = all(1 <= n <= MOST_SIDE for n in self.shape)
        need(sane, f"pictures of {'x'.join(map(str, self.shape))} cannot be: correct their shape")
        last = max([self.class_count, *(int(self.network.get(k) or 0) for k in _COUNTS)]) - 1
        need(
            self.label is None or 0 <= self.label <= last,
            f"label is {self.label}, and this network knows "
            + (f"classes 0 to {last}: give one of them" if last >= 0 else "no classes: leave it out"),
        )

    def check_side(self, levels: int, where: str) -> None:
        """UserError when pictures cannot be halved between so many levels of a U-Net."""
        step, (_, height, width) = 2 ** (levels - 1), self.shape
        need(
            height % step == 0 and width % step == 0,
            f"{where} halves its pictures {levels - 1} times, so their height and width must be multiples of "
            f"{step}, not {height}x{width}: correct their shape",
        )

    @property
    def class_count(self) -> int:
        """How many classes the network tells apart, named or not; 0 for none."""
        held = (len(self.classes), *(self.network.get(k) for k in _COUNTS))
        return next((n for n in held if n), 0)

    @property
    def told(self) -> int | None:
        """Number of the class that the network is told where nobody says which: `label`, or else that which
        stood for hidden classes in its training; None where there is neither."""
        hidden = self.classes and self.network.get("num_classes") == len(self.classes) + 1
        return len(self.classes) if self.label is None and hidden else self.label

    @property
    def on_unit_range(self) -> bool:
        """Whether the network was trained on pictures in [0, 1], as NCSN++ is unless `centred` is true."""
        return self.network.get("kind") == "ncsnpp" and not self.network.get("centred", False)

    def law(self) -> Noise:
        """The noise law. Raises UserError for an unknown one."""
        options = dict(self.noise)
        kind = options.pop("kind", "white")
        need(
            isinstance(kind, str) and kind in NOISES,
            f"unknown noise {shown(kind)}{nearest(str(kind)[:100], NOISES)}",
        )
        return build(NOISES[kind], options, "noise")

    def build_network(self) -> nn.Module:
        """The network with fresh weights. Raises UserError for an unknown kind or field."""
        options = dict(self.network)
        kind = options.pop("kind", "adm")
        if kind == "unet2d":
            return _unet2d(options)
        if kind == "ncsnpp":
            return _ncsnpp(options)
        if kind == "level":
            return _level(options)
        need(kind == "adm", f"unknown network {kind!r}: choose one of adm, level, ncsnpp, unet2d")
        config = build(UNetConfig, options, "network")
        _bounded(config.widths, config.num_res_blocks)
        return UNet(config)

    def denoiser(self, network: nn.Module) -> Denoiser:
        """The network read as this config says, for pictures in [-1, 1] whatever it was trained on."""
        dtype = next((p.dtype for p in network.parameters()), None)  # of the network, whatever the state's
        process, predicts = self.process.build(), self.predicts
        if self.on_unit_range:
            if predicts == "v" or self.process.kind not in ("ve", "edm"):
                raise UserError(
                    "pictures in [0, 1] go with a process whose variance explodes and a network that "
                    "predicts score, eps or x0: set centred to true, or correct the process"
                )
            network, process = OnUnitRange(network, predicts), replace(process, sigma=2 * process.sigma)
        if self.network.get("kind") == "level":
            need(
                self.process.kind in ("vp", "vp_sde"),
                "a network that is told how much of the data is left goes with a process that preserves the "
                "variance: correct the process",
            )
            process = replace(process, label=process.alpha)
        if self.told is not None:
            network = OfClass(network, self.told)
        return Denoiser(network, process, predicts, self.variance, dtype=dtype)


def _unet2d(options: dict[str, Any]) -> nn.Module:
    """A diffusers UNet2DModel, in EDM's wrapper when `data_std` is given."""
    from headwater.models.unet2d import checked, plain_class

    data_std = options.pop("data_std", None)
    options, _ = checked(options, "network")
    _bounded(options.get("block_out_channels", ()), options.get("layers_per_block", 2))
    try:
        network = plain_class()(**options)
    except (ValueError, TypeError, ZeroDivisionError, RuntimeError) as error:
        raise UserError(f"network: {str(error).splitlines()[0]}: correct the config") from None
    return network if data_std is None else Preconditioned(network, float(data_std))


def _ncsnpp(options: dict[str, Any]) -> nn.Module:
    """The network of score-based models (Song et al. 2021); Score-MRI's and DiffPure's are of this kind."""
    from headwater.nets.ncsnpp import NCSNpp, NCSNppConfig

    config = build(NCSNppConfig, options, "network")
    _bounded([config.nf * m for m in config.ch_mult], config.num_res_blocks)
    need(config.num_scales <= MOST_STEPS, f"network: num_scales is at most {MOST_STEPS}; correct the config")
    return NCSNpp(config)


def _level(options: dict[str, Any]) -> nn.Module:
    """SR3's network without a picture that it sees, told sqrt(abar); DDPM-CD's prior is of this kind."""
    from headwater.nets.level_unet import LevelUNet, LevelUNetConfig

    config = build(LevelUNetConfig, options, "network")
    _bounded([config.model_channels * m for m in config.channel_mult], config.num_res_blocks)
    need(
        config.in_channels == config.out_channels,
        "network: a prior's network reads and answers as many channels; correct the config",
    )
    return LevelUNet(config)


def _bounded(widths: Sequence[int], blocks: int) -> None:
    sane = max(widths, default=1) <= MOST_CHANNELS and len(widths) <= MOST_LEVELS
    need(
        sane and 0 <= blocks <= MOST_BLOCKS, "network: no checkpoint is this wide or deep; correct the config"
    )
