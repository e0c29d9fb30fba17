"""SDM: draw pictures from label maps, which enter the decoder alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.controls import Clip
from headwater.core import Denoiser, Diffusion
from headwater.core.schedule import linear
from headwater.data.label_maps import UNLABELLED, note_gaps
from headwater.errors import need
from headwater.methods.base import Ids, Images, Labels, Method, Paper
from headwater.metrics.segmenter import judged
from headwater.models.config import MOST_STEPS
from headwater.models.filling import Parts
from headwater.models.folder import Layout, Shapes, prefixed
from headwater.models.pretrained import Pretrained
from headwater.nets.adm import UNetConfig
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.nets.image_conditioned import ConcatenatedUNet
from headwater.nets.infer import unet_fields
from headwater.nets.spade import SPADEUNet
from headwater.noise import Purpose, White, derive
from headwater.notes import note
from headwater.sampling import (
    Batch,
    Run,
    RunOptions,
    SamplerName,
    Start,
    guided,
    sample,
    sampler_of,
    timesteps_of,
)
from headwater.training import TrainerConfig, train
from headwater.training.timesteps import uniform

LEAST_T = 21
"""The linear schedule, scaled to T, has betas above 1 below this."""
_MOST_CLASSES = 10_000
"""Of label maps; the largest published sets have some hundreds."""
_READS = "middle_block.0.in_norm.mlp_shared.0.weight"
"""The first convolution that sees the map."""


@dataclass(frozen=True)
class SDMConfig:
    """Sizes, classes and process."""

    network: UNetConfig
    shape: tuple[int, int, int]
    """Channels, height and width of the pictures that it draws."""
    classes: int
    """How many classes label maps have; any other label is none of them."""
    edges: bool = False
    """Whether the edges of instances are one more channel of the map."""
    hidden: int | None = 128
    """Channels between the map and what a norm reads from it; None: the map enters with the picture."""
    T: int = 1000
    predicts: Literal["eps", "v"] = "eps"

    def __post_init__(self) -> None:
        need(1 <= self.classes <= _MOST_CLASSES, f"classes is {self.classes}: give 1 to {_MOST_CLASSES}")
        need(LEAST_T <= self.T <= MOST_STEPS, f"T is {self.T}: give {LEAST_T} to {MOST_STEPS} timesteps")
        need(self.hidden is None or self.hidden >= 1, f"hidden is {self.hidden}: give 1 channel or more")
        channels, height, width = self.shape
        reads = channels + (self.map_channels if self.hidden is None else 0)
        fits = self.network.in_channels == reads and self.network.out_channels == 2 * channels
        need(fits, f"the network reads or gives other channels than {reads} and {2 * channels}")
        fold = self.network.downsampling
        need(
            height > 0 and width > 0 and height % fold == 0 and width % fold == 0,
            f"pictures are {height} x {width}: resize them to multiples of {fold} a side",
        )

    @property
    def map_channels(self) -> int:
        """Channels of the map: one for each class, and one for edges."""
        return self.classes + self.edges


@dataclass(frozen=True, eq=False)
class FittedSDM(Pretrained):
    """What `SDM.fit` returns."""

    network: SPADEUNet | ConcatenatedUNet
    config: SDMConfig

    kind = "sdm"

    @classmethod
    def networks(cls, config: SDMConfig) -> Parts:
        if config.hidden is None:
            return {"network": ConcatenatedUNet(config.network)}
        return {"network": SPADEUNet(config.network, config.map_channels, config.hidden)}

    @classmethod
    def published(cls, shapes: Shapes, settings: Mapping[str, Any]) -> Layout:
        """WeilunWang/semantic-diffusion-model: the flags of its scripts are settings, `image_size` (one side,
        or height and width), `no_instance` (true by default), `num_head_channels`, `diffusion_steps`.
        """
        heads = {k: settings[k] for k in ("num_heads", "num_head_channels") if k in settings}
        network = UNetConfig(**unet_fields(shapes, use_new_attention_order=False, **heads))
        side, edges = settings["image_size"], not settings.get("no_instance", True)
        height, width = side if isinstance(side, list | tuple) else (side, side)
        if _READS not in shapes:
            raise ValueError("no norm of its decoder reads a map")
        hidden, reads = (int(n) for n in tuple(shapes[_READS])[:2])
        shape = (network.in_channels, int(height), int(width))
        T = int(settings.get("diffusion_steps", 1000))
        return Layout(SDMConfig(network, shape, reads - edges, edges, hidden, T), prefixed)

    @cached_property
    def denoiser(self) -> Denoiser:
        """Linear betas scaled to T; the network is given t - 1."""
        T = self.config.T
        return Denoiser(self.network, Diffusion.vp(linear(T)), self.config.predicts, "learned_range")

    def encode(self, labels: Tensor, instances: Tensor | None) -> Tensor:
        """What the network is told of label maps int64 (B, H, W): float32 (B, classes + edges, H, W), 1 for
        the class of a pixel and at edges of instances (B, H, W). Zeros where a label is no class."""
        classes = self.config.classes
        some = labels.where((labels >= 0) & (labels < classes), classes)
        told = F.one_hot(some, classes + 1)[..., :classes].movedim(-1, 1).float()
        return torch.cat([told, edges_of(instances)], 1) if instances is not None else told

    def check_maps(self, labels: Tensor, instances: Tensor | None) -> None:
        """Raise UserError unless maps are such as it was trained with; note labels that are no class."""
        need(len(labels) > 0, "there is no label map to draw from: give one or more")
        _, height, width = self.config.shape
        need(
            tuple(labels.shape[1:]) == (height, width),
            f"the label maps are {' x '.join(map(str, labels.shape[1:]))}, and this network draws {height} x "
            f"{width}: crop or resize them, or fit another",
        )
        need(
            (instances is not None) == self.config.edges,
            "this network was trained with instances: give those of these maps too"
            if self.config.edges
            else "this network was trained without instances: leave them out, or fit one with them",
        )
        check_instances(labels, instances)
        strange = sorted({int(v) for v in labels.unique()} - set(range(self.config.classes)))
        if strange:
            what = f"holds {', '.join(map(str, strange[:8]))}, none of the {self.config.classes} classes that"
            note(f"{what} the network was trained on: nothing is said about these pixels", "labels")


@dataclass(frozen=True)
class SDM(Method):
    """Draw pictures from label maps by a diffusion whose decoder reads the map in every norm (Wang et al.
    2022).

        map      = one channel for each class (1 where a pixel is of it), one for the edges of instances
        h        = relu(conv(map)),   norm(f, map) = GN(f) (1 + conv(h)) + conv(h)     at the size of f
        eps, v   = D(E(x_t, t), map, t)                     E sees no map; every norm of D is such a one
        loss     = |e - eps|^2 + bound(v)                   with probability `drop` the map is all zeros
        eps^     = eps(x_t, 0) + guidance_scale (eps(x_t, map) - eps(x_t, 0))          one call of 2 B rows
        x_t-1    ~ N(mean(x_t, clipped x0 of eps^), `variance`: by default v of the map's own half)

    What the norms read depends on neither x_t nor t: it is computed once a picture and kept (`cached`).

    Deviates from the reference code: maps are dropped from the first step on, not in a second training, and
    for each picture at once; a label that is no class (255 and any that was not trained on) is zeros in all
    channels, where its code fails; no map at all is the empty one, where it fails; a scale between 0 and 1
    has an effect; both halves of the guidance are one call; the colour fix by given means and deviations is
    left out.

    >>> import headwater as hw
    >>> emoji = hw.load("emoji-parts", "train", 16)
    >>> sizes = UNetArchitecture(32, (1, 1), 1, (), resblock_updown=True)
    >>> method = hw.SDM(hidden=16, steps="3", network=sizes, training=TrainerConfig(2, 4))
    >>> fitted = method.fit(emoji.images[:8], emoji.labels[:8], seed=0, progress=False)
    >>> method.apply(emoji.labels[:2], fitted, seed=0, progress=False).shape
    torch.Size([2, 3, 16, 16])
    """

    paper: ClassVar[Paper] = Paper(
        title="Semantic Image Synthesis via Diffusion Models",
        authors="Weilun Wang, Jianmin Bao, Wengang Zhou, Dongdong Chen, Dong Chen, Lu Yuan, Houqiang Li",
        year=2022,
        arxiv="2207.00050",
        code="WeilunWang/semantic-diffusion-model",
        claim="Pictures follow their label map better when it enters the decoder's norms than when it is "
        "concatenated with the noisy picture, and better under guidance, at the price of variety.",
    )
    needs: ClassVar[tuple[str, ...]] = ("pictures with a label map each, to train on",)
    applied: ClassVar[tuple[str, ...]] = ("guidance_scale", "steps", "sampler", "variance", "cached")

    network: UNetArchitecture = field(
        default_factory=lambda: UNetArchitecture(
            256, (1, 1, 2, 2, 4, 4), 2, (8, 16, 32), num_head_channels=64, resblock_updown=True
        )
    )
    """Architecture of the U-Net, by default for pictures of 256 x 256."""
    hidden: int = 128
    """Number of channels between the map and what a norm of the decoder reads from it."""
    condition: Literal["spade", "concatenate"] = "spade"
    """Way in for the map: the norms of the decoder, or more input channels (the paper's ablation)."""
    T: int = 1000
    """Number of timesteps of the chain, at least 21; for fewer network calls lower `steps`."""
    predicts: Literal["eps", "v"] = "eps"
    """Target of the network: the noise, or v, which suits short trainings (Salimans & Ho 2022)."""
    drop: float = 0.2
    """Share of maps that are emptied in training, which guidance wants; the paper's first stage has 0."""
    mirror: bool = True
    """Whether half of the training pictures are mirrored, left to right."""
    shape: tuple[int, int, int] | None = None
    """Channels, height and width to which the command line brings pictures; None: those of the first one."""
    training: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(steps=320_000, batch_size=32, lr=1e-4, ema=0.9999)
    )
    """How the network is trained."""
    guidance_scale: float = 1.5
    """Scale of the classifier-free guidance: 1 does not guide, 0 ignores the map."""
    steps: str = "1000"
    """Timesteps visited: a number, counts per section such as "10,10,3,2,2", "ddim50" or "fast27"."""
    sampler: SamplerName = "ancestral"
    """Sampler that takes the steps; all but `ancestral` get by with fewer of them."""
    variance: Literal["learned", "small", "large"] = "learned"
    """Variance of an ancestral step: the network's, the posterior's (small), which leaves less grain in few
    steps, or beta (large)."""
    cached: bool = True
    """Keep what the norms read from a map for all steps of its picture: more memory, less time."""

    def sizes(self, shape: tuple[int, int, int], classes: int, edges: bool = False) -> SDMConfig:
        """The model for pictures of that shape and maps of so many classes."""
        concatenated = self.condition == "concatenate"
        reads = shape[0] + (classes + edges if concatenated else 0)
        network = UNetConfig(in_channels=reads, out_channels=2 * shape[0], **asdict(self.network))
        hidden = None if concatenated else self.hidden
        return SDMConfig(network, shape, classes, edges, hidden, self.T, self.predicts)

    def fit(
        self, image: Images, labels: Labels, instances: Ids | None = None, **how: Unpack[RunOptions]
    ) -> FittedSDM:
        """Learn to draw image[i] (C, H, W) in [-1, 1] for labels[i] (H, W), whose classes are 0 to the
        largest label but 255. instances: numbers (N, H, W) that tell neighbouring things of one class apart.

        Raises UserError where pictures and maps do not fit together, or for sizes that cannot be.
        """
        run = Run(**how)
        need(image.ndim == 4 and len(image) > 0, "there is no picture to learn from: give some")
        size = tuple(image.shape[-2:])
        need(
            labels.ndim == 3 and len(labels) == len(image) and tuple(labels.shape[1:]) == size,
            f"label maps are {tuple(labels.shape)}, pictures {tuple(image.shape)}: give one map of the same "
            "size for each picture",
        )
        check_instances(labels, instances)
        need(0 <= self.drop < 1, f"drop is {self.drop}: give 0 to below 1")
        named = labels[(labels >= 0) & (labels != UNLABELLED)]
        need(len(named) > 0, "no pixel has a class: this method wants label maps with 0, 1, 2, ...")
        note_gaps(labels)
        config = self.sizes(tuple(image.shape[1:]), int(named.max()) + 1, instances is not None)  # pyright: ignore
        fitted = FittedSDM.fresh(config, derive(run.seed, Purpose.SDM_WEIGHTS))

        def loss(network: nn.Module, rows: Tensor, number: int) -> Tensor:
            draws = torch.Generator().manual_seed(derive(run.seed, Purpose.SDM_BATCHES, number))
            t = uniform(len(rows), self.T, draws)
            mirrored, kept = torch.rand(2, len(rows), 1, 1, 1, generator=draws)
            told = fitted.encode(labels[rows], None if instances is None else instances[rows])
            x0, told = (
                v.where((mirrored >= 0.5) | (not self.mirror), v.flip(-1)).to(run.device)
                for v in (image[rows], told * (kept >= self.drop))
            )
            seeds = [derive(run.seed, Purpose.SDM_NOISE, number, k) for k in range(len(rows))]
            own = replace(fitted.denoiser, network=network)
            return own.loss(x0, t, White().stream(seeds)(x0), features=told).mean()

        trained = train(fitted.network, loss, len(image), self.training, run, self.learnt())
        return replace(fitted, network=trained)  # pyright: ignore[reportArgumentType]

    def apply(
        self, labels: Labels, fitted: FittedSDM, instances: Ids | None = None, **how: Unpack[RunOptions]
    ) -> Images:
        """Draw one picture for each label map (B, H, W), (B, C, H, W) in [-1, 1].

        Picture i depends on the seed, i and its map alone.
        """
        return self.draw(labels, fitted, Run(**how), instances)

    def draw(
        self, labels: Tensor, fitted: FittedSDM, run: Run, instances: Tensor | None = None, draws: int = 1
    ) -> Tensor:
        """`draws` pictures for each map, those of one map together. Raises UserError for other maps than it
        was fitted on, or `steps` that do not fit."""
        fitted.check_maps(labels, instances)
        network, process = fitted.network, fitted.denoiser.process
        encode = network.encode if self.cached else _as_it_is

        def begin(batch: Batch) -> Start:
            own = None if instances is None else instances[batch.rows]
            told = encode(fitted.encode(labels[batch.rows], own).to(run.device))
            x = process.start(batch.empty(*fitted.config.shape), batch.noise)
            return Start(x, [Clip()], {"features": batch.repeat(told)})

        with torch.no_grad():
            empty = torch.zeros(1, fitted.config.map_channels, *fitted.config.shape[1:], device=run.device)
            null = {"features": encode(empty)}
        return sample(
            guided(fitted.denoiser, self.guidance_scale, null), timesteps_of(process, self.steps),
            len(labels), begin, run, sampler=sampler_of(self.sampler, self.variance), draws=draws,
            key=lambda item, draw: (Purpose.SDM_SAMPLES, run.first + item, draw), label="pictures",
        )  # fmt: skip

    def evaluate(
        self,
        drawn: Images,
        labels: Labels,
        truth: Images | None = None,
        found: Labels | None = None,
        again: Images | None = None,
    ) -> dict[str, float]:
        """Judge pictures drawn from label maps (B, H, W).

        With `found`, the label maps that a segmenter of yours found in them: miou, pooled over pixels. Else
        with `truth`, the real pictures of these maps: miou by two segmenters trained here, each on the real
        half that it does not judge, beside miou_real, what they find in the real pictures, and frechet, the
        Frechet distance of their features from the real pictures'. With `again`, drawings of the same maps
        with another seed: variety, the distance of both drawings' features, pixel by pixel. Segmenters want
        dozens of pictures. Pixels of label 255 do not count.
        """
        return judged(drawn, labels, truth, found, again)


def _as_it_is(told: Tensor) -> Tensor:
    return told


def edges_of(instances: Tensor) -> Tensor:
    """1 where a pixel of instances (B, H, W) differs from one of its 4 neighbours: float32 (B, 1, H, W)."""
    edges = torch.zeros(instances.shape, dtype=torch.bool, device=instances.device)
    across, down = (instances.diff(dim=axis) != 0 for axis in (-1, -2))
    edges[..., 1:] |= across
    edges[..., :-1] |= across
    edges[..., 1:, :] |= down
    edges[..., :-1, :] |= down
    return edges[:, None].float()


def check_instances(labels: Tensor, instances: Tensor | None) -> None:
    """Raise UserError unless there is an instance map of the same size for each label map, or none at all."""
    need(
        instances is None or instances.shape == labels.shape,
        f"instances are {None if instances is None else tuple(instances.shape)}, label maps "
        f"{tuple(labels.shape)}: give one of the same size for each map",
    )
