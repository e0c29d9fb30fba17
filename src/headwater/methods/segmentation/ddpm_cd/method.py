"""DDPM-CD: find what changed between two pictures of a place, by what a frozen prior sees in both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Unpack, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.core import Diffusion
from headwater.core.prediction import labels as network_labels
from headwater.core.schedule import linear
from headwater.data.label_maps import UNLABELLED
from headwater.errors import need
from headwater.methods.base import Images, Labels, Map, Method, Paper
from headwater.methods.segmentation.ddpm_cd.network import ChangeHead, HeadConfig, Maps, infer_head
from headwater.metrics.segmentation import confusion, scores
from headwater.models import Prior
from headwater.models.filling import Parts
from headwater.models.folder import Layout, Shapes, prefixed
from headwater.models.pretrained import Pretrained
from headwater.nets.features import activations, block_names
from headwater.nets.tiles import Place, places
from headwater.noise import Purpose, derive
from headwater.sampling import Run, RunOptions
from headwater.training import TrainerConfig, train


@dataclass(frozen=True)
class ChangeConfig:
    """Sizes of the head, and how features are read."""

    head: HeadConfig
    shape: tuple[int, int, int]
    """(C, H, W) of the pictures or tiles that the prior is given."""
    signal_levels: tuple[float, ...]
    """As in `DDPMCD`, and so are `blocks`, which ascend, and `one_noise`."""
    blocks: tuple[int, ...]
    one_noise: bool

    def __post_init__(self) -> None:
        need(min(self.shape) >= 1, f"pictures are {self.shape}: give sides of 1 or more")
        need(
            len(self.blocks) == len(self.head.widths) and len(self.signal_levels) == self.head.levels,
            "the head reads another number of blocks or noise levels than are named",
        )


@dataclass(frozen=True, eq=False)
class ChangeDetector(Pretrained):
    """What `DDPMCD.fit` returns."""

    network: ChangeHead
    config: ChangeConfig

    kind = "ddpm-cd"
    tags = ("image-segmentation", "change-detection")

    @classmethod
    def networks(cls, config: ChangeConfig) -> Parts:
        return {"network": ChangeHead(config.head)}

    @classmethod
    def published(cls, shapes: Shapes, settings: Mapping[str, Any]) -> Layout:
        """A head's file of wgcban/ddpm-cd. Settings, of its configuration: `t`, `feat_scales`,
        `output_cm_size`, and where they are not 15, 2000, 1e-6, 1e-2 the number of `decoder_blocks` and
        `n_timestep`, `linear_start`, `linear_end` of the prior's chain."""
        head = infer_head(shapes)
        T, ends = int(settings.get("n_timestep", 2000)), {"linear_start": 1e-6, "linear_end": 1e-2}
        signal = Diffusion.vp(linear(T, *(float(settings.get(k, v)) for k, v in ends.items()))).alpha
        # There a level is drawn between those of two timesteps; here it is the middle.
        levels = [float(signal[t - 1 : t + 1].mean()) for t in settings["t"]]
        last, side = int(settings.get("decoder_blocks", 15)) - 1, int(settings["output_cm_size"])
        blocks = tuple(sorted(last - scale for scale in settings["feat_scales"]))  # it counts from the finest
        return Layout(ChangeConfig(head, (3, side, side), tuple(levels), blocks, False), prefixed)


@dataclass(frozen=True)
class Changes:
    """What `DDPMCD.apply` returns."""

    labels: Labels
    """1 where the two pictures differ, 0 elsewhere."""
    probability: Map
    """How probable a change is."""


@dataclass(frozen=True)
class DDPMCD(Method):
    """Noise two pictures of a place mildly, read the frozen prior's decoder, compare block by block
    (Bandara et al. 2022, sec. 3).

        x_a   = a x_0 + sqrt(1 - a^2) e           at each signal level a, for both dates
        f_b   = conv(relu(sum_a W_b,a (block b of the network at x_a)))
        d_b   = |f_b(before) - f_b(after)| + larger(d_b-1)         from the deepest block to the finest
        change = softmax(conv(relu(conv(d_finest))))

    Noise is said by what is left of the picture, a = sqrt(abar), and the prior's timestep nearest to it is
    taken, so that one setting means the same for every prior. Pictures larger than the prior's are cut into
    tiles that overlap by a quarter, and the logits are averaged; attention makes a whole larger picture
    another one than the prior has learned.

    Memory while applying: one pass of the network, the blocks of one picture at one level, and sums of one
    level's size for both dates; the reference code holds every block of all levels and dates.

    Deviates from the reference code: the finest block counts (there the classifier reads the level before, so
    the finest block is dead); the level is fixed (there it is drawn between two timesteps); noise depends on
    the seed and the pair alone, and may be one for both dates; sizes need not halve evenly between blocks;
    labels may be partial; the last weights are returned, or those of the lowest held-out loss.

    >>> import headwater as hw
    >>> prior = hw.Prior.from_pretrained("photos")
    >>> before = hw.load("photos", "train", 32).images[:4]
    >>> after, changed = before.clone(), torch.zeros(4, 32, 32, dtype=torch.int64)
    >>> after[:, :, 8:16, 8:16], changed[:, 8:16, 8:16] = 1.0, 1
    >>> method = hw.DDPMCD(signal_levels=(0.9,), blocks=(0, 2, 4), training=TrainerConfig(2, 2))
    >>> fitted = method.fit(prior, before, after, changed, seed=0, progress=False)
    >>> found = method.apply(prior, before, after, fitted, seed=0, progress=False)
    >>> tuple(found.labels.shape), tuple(found.probability.shape)
    ((4, 32, 32), (4, 1, 32, 32))
    """

    paper: ClassVar[Paper] = Paper(
        title="DDPM-CD: Denoising Diffusion Probabilistic Models as Feature Extractors for Remote Sensing "
        "Change Detection",
        authors="Wele Gedara Chaminda Bandara, Nithin Gopalakrishnan Nair, Vishal M. Patel",
        year=2022,
        venue="WACV 2025",
        arxiv="2206.11892",
        code="wgcban/ddpm-cd",
        claim="Changes between two pictures are found better from a diffusion prior's features, read at "
        "several noise levels, than from an untrained network's or one level's, by differencing, or by a "
        "supervised network.",
    )
    applied: ClassVar[tuple[str, ...]] = ("tiled",)
    needs: ClassVar[tuple[str, ...]] = (
        "an unconditional prior of such pictures",
        "pairs of pictures of one place, with label maps of what changed",
    )

    signal_levels: tuple[float, ...] = (0.997, 0.9878, 0.8192)
    """What is left of the picture, sqrt(abar), where features are read: timesteps 50, 100 and 400 of the
    paper's chain."""
    blocks: tuple[int, ...] = (0, 3, 6, 9, 12)
    """Decoder blocks that are read, 0 being the deepest. The default is the first block of each resolution in
    a network of 15 blocks; a smaller network needs others."""
    one_noise: bool = False
    """Noise both dates with the same field, so that noise adds no difference."""
    reference: bool = False
    """Leave the finest block out of the answer, as the reference code does."""
    kept: int = 0
    """Number of noise draws of each training pair whose features are read once and kept in memory; 0 reads
    them anew at each visit, as the paper does."""
    tiled: bool = False
    """Cut pictures that are larger than the prior's into tiles of its size. Without it the command line
    resizes them to the prior's size."""
    training: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(106_800, 8, lr=1e-4, decay="linear")
    )
    """How the head is trained; the default is 120 passes over the 7,120 pairs of LEVIR-CD."""

    def fit(
        self, prior: Prior, image: Images, after: Images, labels: Labels, **how: Unpack[RunOptions]
    ) -> ChangeDetector:
        """Train the head by cross-entropy; the prior stays as it is.

        image, after: (N, C, H, W) in [-1, 1], the two dates. labels: int64 (N, H, W), 0 unchanged, 1 changed,
        255 unlabelled. Tiles without a label are left out. Raises UserError when shapes or labels are wrong.
        """
        run = Run(**how)
        self._check(prior, image, after)
        _check_labels(labels, image)
        before, after, truth = (
            torch.cat([v[..., rows, columns] for rows, columns in tiles(image, prior)])
            for v in (image, after, labels)
        )
        some = (truth != UNLABELLED).flatten(1).any(1)
        before, after, truth = before[some], after[some], truth[some]
        reader = Reader(prior, self.signal_levels, self.blocks, self.one_noise)

        def read(rows: Sequence[int], *keys: Sequence[int]) -> Iterator[Iterator[Maps]]:
            seeds = [derive(run.seed, Purpose.CHANGE_TRAINING, *key) for key in keys]
            dates = [v[list(rows)].to(run.device) for v in (before, after)]
            return (reader.read(x, f) for x, f in zip(dates, reader.fields(dates[0], seeds), strict=True))

        widths = tuple(m.shape[1] for m in next(next(read([0], (0, 0)))))
        head = HeadConfig(widths, len(self.signal_levels), self.reference)
        config = ChangeConfig(head, prior.shape, self.signal_levels, reader.blocks, self.one_noise)
        fitted = ChangeDetector.fresh(config, derive(run.seed, Purpose.CHANGE_WEIGHTS))
        stored = [
            [[list(levels) for levels in read([i], (i, k))] for k in range(self.kept)]
            for i in run.track(range(len(truth) if self.kept else 0), "features")
        ]

        def loss(network: nn.Module, rows: Tensor, number: int) -> Tensor:
            if self.kept:
                draws = torch.Generator().manual_seed(derive(run.seed, Purpose.CHANGE_TRAINING, number))
                chosen = torch.randint(self.kept, (len(rows),), generator=draws)
                pairs = [stored[i][k] for i, k in zip(rows.tolist(), chosen.tolist(), strict=True)]
                dates = (_joined(date) for date in zip(*pairs, strict=True))
            else:
                dates = read(rows.tolist(), *((number, k) for k in range(len(rows))))
            logits = _resized(network(*dates), prior.shape)
            return F.cross_entropy(logits, truth[rows].to(run.device), ignore_index=UNLABELLED)

        trained = train(fitted.network, loss, len(truth), self.training, run, self.learnt())
        return replace(fitted, network=trained)  # pyright: ignore[reportArgumentType]

    @torch.no_grad()
    def apply(
        self, prior: Prior, image: Images, after: Images, fitted: ChangeDetector, **how: Unpack[RunOptions]
    ) -> Changes:
        """Find what changed from `image` to `after`, (B, C, H, W) in [-1, 1] each.

        The answer for pair i depends on the seed and run.first + i alone. Raises UserError for pictures of
        another size than the prior's, unless they are larger and `tiled`, or where the prior is another one.
        """
        run, config, found = Run(**how), fitted.config, list[Tensor]()
        self._check(prior, image, after)
        reader = Reader(prior, config.signal_levels, config.blocks, config.one_noise)
        for batch in run.track(run.batches(len(image)), "pairs"):
            seeds = [derive(run.seed, Purpose.CHANGE_NOISE, run.first + i) for i in batch.items]
            dates = [batch.take(v) for v in (image, after)]
            fields = reader.fields(dates[0], seeds)
            total, count = (torch.zeros(len(batch), n, *image.shape[-2:], device=run.device) for n in (2, 1))
            for rows, columns in tiles(image, prior):
                tile = (
                    reader.read(x[..., rows, columns], [e[..., rows, columns] for e in noise])
                    for x, noise in zip(dates, fields, strict=True)
                )
                total[..., rows, columns] += _resized(fitted.network(*tile), prior.shape)
                count[..., rows, columns] += 1
            found.append((total / count).cpu())
        logits = torch.cat(found)
        return Changes(logits.argmax(1), logits.softmax(1)[:, 1:])

    def evaluate(self, labels: Labels, truth: Labels) -> dict[str, float]:
        """Agreement of label maps int64 (B, H, W), counted over all pixels whose truth is not 255.

        f1, iou, precision, recall: of what changed. accuracy: share of pixels that are right. All are 0 where
        nothing changed and nothing was found.
        """
        found = scores(confusion(labels, truth, 2, UNLABELLED))
        names = ("f1", "iou", "precision", "recall")
        return {**{name: float(found[name][1]) for name in names}, "accuracy": float(found["accuracy"])}

    def _check(self, prior: Prior, image: Tensor, after: Tensor) -> None:
        need(len(image) > 0, "there is no pair of pictures: give some")
        need(
            image.shape == after.shape,
            f"the pictures are {tuple(image.shape)} before and {tuple(after.shape)} after: give pairs of one "
            "size",
        )
        (channels, *sides), (wanted, *least) = image.shape[1:], prior.shape
        same, larger = sides == least, all(n >= m for n, m in zip(sides, least, strict=True))
        need(
            channels == wanted and (same or (self.tiled and larger)),
            f"the pictures are {tuple(image.shape[1:])} and the prior's {prior.shape}: resize them, or set "
            "tiled where they are larger",
        )


@dataclass(frozen=True)
class Reader:
    """How features of a prior are read."""

    prior: Prior
    signal_levels: tuple[float, ...]
    among: tuple[int, ...]
    """Decoder blocks, in any order."""
    one_noise: bool

    def __post_init__(self) -> None:
        count = sum(name.startswith("output_blocks") for name in block_names(self.prior.network))
        need(
            len(self.among) > 0 and all(0 <= b < count for b in self.among),
            f"blocks are {self.among}, and this network has {count} decoder blocks: choose from 0 to "
            f"{count - 1}",
        )
        need(
            len(self.signal_levels) > 0 and all(0 < a < 1 for a in self.signal_levels),
            f"signal_levels are {self.signal_levels}: give one or more between 0, noise, and 1, the picture",
        )

    @property
    def blocks(self) -> tuple[int, ...]:
        """Decoder blocks, deepest first."""
        return tuple(sorted(set(self.among)))

    @property
    def timesteps(self) -> list[int]:
        """The prior's timestep at which about as much of the picture is left, for each level."""
        process = self.prior.process
        left = (process.alpha / (process.alpha.square() + process.sigma.square()).sqrt())[1:]
        return [1 + int((left - level).abs().argmin()) for level in self.signal_levels]

    def fields(self, like: Tensor, seeds: Sequence[int]) -> list[list[Tensor]]:
        """Noise for each date and level, (B, C, H, W); that of a pair is a function of its seed."""

        def drawn(date: int, level: int) -> Tensor:
            return self.prior.noise.stream([derive(seed, date, level) for seed in seeds])(like)

        dates = [
            [drawn(date, level) for level in range(len(self.signal_levels))]
            for date in range(2 - self.one_noise)
        ]
        return dates * (1 + self.one_noise)

    def read(self, image: Tensor, noise: Sequence[Tensor]) -> Iterator[Maps]:
        """The blocks of one date at one level after another, deepest first; no gradient goes through them."""
        process, network = self.prior.process, cast(nn.Module, self.prior.denoiser.network)
        for t, field_ in zip(self.timesteps, noise, strict=True):
            with torch.no_grad():
                x = process.combine(image, field_, t)
                told = network_labels(process.label, t, x)
                maps = activations(network, x, told, self.blocks)
            yield list(maps.values())


def tiles(image: Tensor, prior: Prior) -> list[Place]:
    """Tiles of the prior's size that cover pictures and overlap by a quarter or more."""
    return places(image.shape[-2:], prior.shape[1:], overlap=0.25)


def _resized(logits: Tensor, shape: Sequence[int]) -> Tensor:
    """Logits brought to the size of the pictures, where the finest block that is read is smaller."""
    size = tuple(shape[-2:])
    return logits if logits.shape[-2:] == size else F.interpolate(logits, size, mode="bilinear")


def _joined(items: Sequence[Sequence[Maps]]) -> list[Maps]:
    """Features of single pairs, level by level, as those of a batch."""
    return [[torch.cat(maps) for maps in zip(*levels, strict=True)] for levels in zip(*items, strict=True)]


def _check_labels(labels: Tensor, image: Tensor) -> None:
    need(
        labels.shape == (len(image), *image.shape[-2:]),
        f"label maps are {tuple(labels.shape)}, pictures {tuple(image.shape)}: give one label map of the "
        "same size for each pair",
    )
    known = labels[labels != UNLABELLED]
    need(len(known) > 0, "every pixel is unlabelled (255): label some as 0, unchanged, or 1, changed")
    need(
        int(known.min()) >= 0 and int(known.max()) <= 1,
        f"labels go from {int(known.min())} to {int(known.max())}: give 0 where nothing changed, 1 where "
        "something did, and 255 for unlabelled",
    )
