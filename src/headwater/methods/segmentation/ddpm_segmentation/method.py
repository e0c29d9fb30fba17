"""DDPM-Seg: label every pixel from a few labelled images and the inner features of a frozen prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Unpack, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.core.prediction import labels as network_labels
from headwater.data.label_maps import UNLABELLED, note_gaps, rgb_of
from headwater.errors import UserError, need
from headwater.methods.base import Features, Images, Labels, Map, Method, Paper, Scores
from headwater.metrics.clusters import kmeans
from headwater.metrics.segmentation import confusion, iou, mean_iou, mean_iou_ddpm_seg
from headwater.models import Prior
from headwater.models.filling import Parts
from headwater.models.pretrained import Pretrained
from headwater.nets.features import activations, block_names
from headwater.nets.pixel_ensemble import PixelEnsemble, PixelFeatures
from headwater.noise import Purpose, derive
from headwater.sampling import Run, RunOptions


@dataclass(frozen=True)
class PixelClassifiersConfig:
    """Sizes of the ensemble and the features that it reads."""

    members: int
    dim: int
    """Numbers that describe one pixel."""
    classes: int
    shape: tuple[int, int, int]
    """(C, H, W) of the images."""
    steps: tuple[int, ...]
    """As in `DDPMSegmentation`, and so are `blocks`, which ascend."""
    blocks: tuple[int, ...]

    def __post_init__(self) -> None:
        sizes = (self.members, self.dim, self.classes, *self.shape)
        need(min(sizes) >= 1, "members, dim, classes and the sides of images are 1 or more")


@dataclass(frozen=True, eq=False)
class PixelClassifiers(Pretrained):
    """What `DDPMSegmentation.fit` returns: an ensemble, and the noise that its features are read with."""

    network: PixelEnsemble
    config: PixelClassifiersConfig
    noise: Tensor
    """(1, C, H, W), the one field that every image, training or new, is noised with."""

    kind = "ddpm-segmentation"
    tags = ("image-segmentation",)

    @classmethod
    def networks(cls, config: PixelClassifiersConfig) -> Parts:
        ensemble = PixelEnsemble(config.members, config.dim, config.classes)
        return {"network": ensemble, "noise": torch.zeros(1, *config.shape)}

    @classmethod
    def of(
        cls, ensemble: PixelEnsemble, noise: Tensor, steps: tuple[int, ...], blocks: tuple[int, ...]
    ) -> PixelClassifiers:
        """Those of an ensemble, whose sizes it takes."""
        _, C, H, W = noise.shape
        sizes = ensemble.members, ensemble.dim, ensemble.classes
        return cls(ensemble, PixelClassifiersConfig(*sizes, (C, H, W), steps, blocks), noise)


@dataclass(frozen=True)
class Segmentation:
    """What `DDPMSegmentation.apply` returns."""

    labels: Labels
    """Majority vote of the classifiers, the smallest label on ties."""
    uncertainty: Map
    """Jensen-Shannon divergence of the classifiers, H(mean_k p_k) - mean_k H(p_k), in nats."""
    score: Scores
    """Uncertainty of the image: mean over its most uncertain tenth."""


@dataclass(frozen=True)
class DDPMSegmentation(Method):
    """Noise an image mildly, read the decoder once per timestep, classify each pixel by what was read
    (Baranchuk et al. 2022, sec. 4).

        x_t   = alpha_t x_0 + sigma_t e          one field e for all images, timesteps and both splits
        f(p)  = (block b of the network at (x_t, t), resized to H x W, at p)   for t in steps, b in blocks
        label = most frequent argmax of the classifiers on f(p)
        uncertainty = H(mean_k p_k) - mean_k H(p_k)

    Memory: the maps of the labelled images at their own resolution while fitting (100 MB each for the
    paper's 256 x 256 network, instead of 2.2 GB for D = 8448 numbers a pixel), and those of one batch
    plus about four hidden layers while predicting. No tensor of D x H x W exists; logits equal the naive
    way's, since the first linear layer commutes with bilinear resizing.

    Deviates from the reference code: the annotator's slips are masked, not edited into the labels; all
    classifiers are trained side by side in one product; the noise is kept with them, so a prediction needs
    no shared seed; any noise distribution and process of a prior may be used; `evaluate` gives the standard
    mean IoU beside the reference's, which counts pixels with an ignored true label as false positives and
    absent classes as 0.

    >>> import headwater as hw
    >>> prior = hw.Prior.from_pretrained("emoji-parts")
    >>> emoji = hw.load("emoji-parts-hue", "pool", 32)
    >>> method = hw.DDPMSegmentation(steps=(50,), blocks=(1, 2), ensemble=2, epochs=1, smallest=3)
    >>> fitted = method.fit(prior, emoji.images[:2], emoji.labels[:2], seed=0)
    >>> found = method.apply(prior, emoji.images[2:4], fitted)
    >>> tuple(found.labels.shape), tuple(found.uncertainty.shape), tuple(found.score.shape)
    ((2, 32, 32), (2, 1, 32, 32), (2,))
    """

    paper: ClassVar[Paper] = Paper(
        title="Label-Efficient Semantic Segmentation with Diffusion Models",
        authors="Dmitry Baranchuk, Ivan Rubachev, Andrey Voynov, Valentin Khrulkov, Artem Babenko",
        year=2022,
        venue="ICLR",
        arxiv="2112.03126",
        code="yandex-research/ddpm-segmentation",
        claim="Inner features of a diffusion prior, read at small noise in the middle of the decoder, "
        "segment pictures from a few labels better than other features and supervised training.",
    )
    needs: ClassVar[tuple[str, ...]] = (
        "an unconditional prior of such pictures",
        "20 to 50 pictures with label maps",
    )
    applied: ClassVar[tuple[str, ...]] = ("palette",)

    steps: tuple[int, ...] = (50, 150, 250)
    """Timesteps at which features are read, from 0 as the paper numbers them: timestep t + 1 of the prior."""
    blocks: tuple[int, ...] = (5, 6, 7, 8, 12)
    """Decoder blocks that are read, 0 being the deepest. The default suits 18 blocks; a smaller network needs
    others."""
    ensemble: int = 10
    """Number of pixel classifiers."""
    epochs: int = 100
    """Largest number of passes over the labelled pixels."""
    pixels: int = 64
    """Number of pixels in a minibatch, 2 or more."""
    lr: float = 1e-3
    """Learning rate of Adam."""
    patience: int = 50
    """Number of minibatches that may pass, from the fifth epoch on, without a new lowest loss before a
    classifier stops."""
    smallest: int = 20
    """Number of pixels in an image below which a class counts as the annotator's slip and is left out."""
    ignore: int = 255
    """Label of pixels that are neither learned from nor counted, beside 255, which is unlabelled always."""
    classes: int = 0
    """Number of classes of the task, where labels may lack some; 0 takes those that occur."""
    names: tuple[str, ...] = ()
    """Names of the classes of the task, in order: `evaluate` then calls them so, and there are as many."""
    palette: tuple[str, ...] = ()
    """Colours of the classes in order, such as #ff0000, with which label maps are written; () takes hues
    that are far apart."""
    stored: Literal["float32", "float16"] = "float32"
    """Precision of the labelled images' maps while fitting: float16, that of the published networks, takes
    half of the memory."""

    def __post_init__(self) -> None:
        rgb_of(self.palette)
        count, distinct = len(self.names), set(self.names)
        need(len(distinct) == count, "two classes have one name: give each a name of its own")
        need(
            not (count and self.classes) or count == self.classes,
            f"there are {count} names for {self.classes} classes: name all of them, or none",
        )

    def fit(
        self,
        prior: Prior | None,
        image: Images,
        labels: Labels,
        features: Features | None = None,
        **how: Unpack[RunOptions],
    ) -> PixelClassifiers:
        """Train the pixel classifiers; the prior stays as it is.

        image: (N, C, H, W) in [-1, 1]. labels: int64 (N, H, W), 0 to classes - 1 or `ignore`.
        features: maps (N, c, h, w) that a network of your own made of the images, in place of a prior's.
        Raises UserError when shapes disagree, or the prior lacks a step or block.
        """
        run = Run(**how)
        need(
            labels.shape == (len(image), *image.shape[-2:]),
            f"label maps are {tuple(labels.shape)}, images {tuple(image.shape)}: give one label map of the "
            "same size for each image",
        )
        need(self.stored in ("float32", "float16"), f"stored is {self.stored!r}: choose float32 or float16")
        if features is not None:
            maps = [m.to(run.device, getattr(torch, self.stored)) for m in own_features(features, image)]
            nothing = torch.zeros(1, *image.shape[1:])
            return PixelClassifiers.of(self.fit_maps(maps, labels, run), nothing, (), ())
        prior = _given(prior)
        blocks = tuple(sorted(set(self.blocks)))
        noise = shared_noise(prior, image, run)
        maps = read_features(prior, image, self.steps, blocks, noise, run, getattr(torch, self.stored))
        return PixelClassifiers.of(self.fit_maps(maps, labels, run), noise, self.steps, blocks)

    def fit_maps(self, maps: Sequence[Tensor], labels: Tensor, run: Run) -> PixelEnsemble:
        """Train all classifiers at once: Adam, cross-entropy, each with its own order of the pixels.

        maps: any features (N, C, h, w); labels: int64 (N, H, W).
        A classifier stops when, from its fifth epoch on, `patience` + 1 minibatches in a row set no new
        lowest loss, the reference's rule. Classifier k depends on (run.seed, k) alone.
        Raises UserError where nothing is left to learn from.
        """
        need(min(self.ensemble, self.epochs) >= 1, "ensemble and epochs are 1 or more")
        need(self.pixels >= 2, f"pixels is {self.pixels}: batch norm needs 2 or more")
        labels, members = self._labelled(labels).to(maps[0].device), self.ensemble
        used = usable(labels, self.ignore, self.smallest)
        need(int(used.sum()) > 1, "no labelled pixel is left to learn from: lower smallest or check ignore")
        need(int(labels[used].min()) >= 0, "labels are negative: number the classes from 0")
        classes = self._classes(labels[labels != self.ignore])
        note_gaps(labels[labels != self.ignore])
        features = PixelFeatures(maps, labels.shape[-2:])
        pool, truth = used.flatten().nonzero()[:, 0], labels.flatten()
        seeds = [derive(run.seed, Purpose.CLASSIFIER_MEMBER, k) for k in range(members)]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        ensemble = PixelEnsemble(members, features.dim, classes)
        ensemble.draw(generators)
        ensemble.to(maps[0].device, features.dtype)
        final = {k: v.clone() for k, v in ensemble.state_dict().items()}
        optimiser = torch.optim.Adam(ensemble.parameters(), self.lr, fused=True)
        lowest = torch.full((members,), torch.inf)
        stale, live = torch.zeros(members, dtype=torch.long), torch.ones(members, dtype=torch.bool)
        batch = min(self.pixels, len(pool))
        per_epoch = len(pool) // batch
        shuffled = torch.empty(members, 0, dtype=torch.long)
        for step in run.track(range(self.epochs * per_epoch), "pixel classifiers"):
            at = step % per_epoch
            if at == 0:
                shuffled = torch.stack([torch.randperm(len(pool), generator=g) for g in generators])
            pixel = pool[shuffled[:, at * batch : (at + 1) * batch].to(pool.device)]
            logits = ensemble(features(pixel)).flatten(0, 1)
            losses = F.cross_entropy(logits, truth[pixel].flatten(), reduction="none")
            loss = losses.view(members, batch).mean(1)
            optimiser.zero_grad()
            loss.sum().backward()
            optimiser.step()
            if step < 4 * per_epoch:
                continue
            now = loss.detach().cpu()
            stale = torch.where(now < lowest, 0, stale + 1)
            lowest = torch.minimum(now, lowest)
            _copy_members(final, ensemble, live & (stale > self.patience))
            live &= stale <= self.patience
            if not live.any():
                break
        _copy_members(final, ensemble, live)
        ensemble.load_state_dict(final)
        return ensemble.eval()

    def apply(
        self,
        prior: Prior | None,
        image: Images,
        fitted: PixelClassifiers,
        features: Features | None = None,
        **how: Unpack[RunOptions],
    ) -> Segmentation:
        """Label every pixel. image: (B, C, H, W) in [-1, 1], of the size that was fitted on; features: as in
        `fit`, where that had some.

        Raises UserError for images of another shape, or features of another network, than was fitted on.
        """
        run, config, found = Run(**how), fitted.config, list[Segmentation]()
        fitted.check(image)
        need(len(image) > 0, "there is no image to label: give some")
        if features is None:
            need(
                bool(config.steps), "these classifiers read features of a network of your own: give them too"
            )
            prior = _given(prior)
        else:
            need(not config.steps, "these classifiers read a prior's features: leave features out")
            features = own_features(features, image)
        for batch in run.track(run.batches(len(image)), "images"):
            if features is not None:
                maps = [m[batch.rows].to(run.device, torch.float32) for m in features]
            else:
                some = image[batch.rows]
                maps = read_features(_given(prior), some, config.steps, config.blocks, fitted.noise, run)
            need(
                sum(m.shape[1] for m in maps) == config.dim,
                "these classifiers were fitted on another network's features: apply them with that network, "
                "or fit again",
            )
            found.append(predict(fitted.network, maps, image.shape[-2:]))
        columns = zip(*((s.labels, s.uncertainty, s.score) for s in found), strict=True)
        return Segmentation(*(torch.cat([v.cpu() for v in column]) for column in columns))

    def evaluate(self, labels: Labels, truth: Labels) -> dict[str, float]:
        """Agreement of int64 (B, H, W) label maps, pixels whose truth is `ignore` left out.

        miou: the standard rule. miou_reference: the reference code's, for comparison with the paper only; a
        class of the task that occurs nowhere counts 0 in it, so say `classes`. iou_0, iou_1, ..., or with
        their `names`: of each class, NaN where it occurs nowhere.
        """
        truth = self._labelled(truth)
        counted = truth != self.ignore
        need(bool(counted.any()), "every true label is the ignored one: check ignore")
        classes = self._classes(torch.cat([labels[counted], truth[counted]]))
        each = iou(confusion(labels, truth, classes, self.ignore)).tolist()
        return {
            "miou": mean_iou(labels, truth, classes, self.ignore),
            "miou_reference": mean_iou_ddpm_seg(labels, truth, classes, self.ignore),
            "accuracy": float((labels == truth)[counted].double().mean()),
            **{f"iou_{name}": value for name, value in zip(self.names or range(classes), each, strict=True)},
        }

    def class_count(self, labels: Labels) -> int:
        """Number of classes of the task, or else of these label maps. UserError where nothing is labelled."""
        known = self._labelled(labels)
        known = known[known != self.ignore]
        need(known.numel() > 0, "no labelled pixel is left to learn from: check ignore")
        return self._classes(known)

    def _labelled(self, labels: Tensor) -> Tensor:
        """Label maps in which what readers call unlabelled is ignored."""
        return torch.where(labels == UNLABELLED, self.ignore, labels)

    def _classes(self, labels: Tensor) -> int:
        """Number of classes: of the task, or else those up to the largest label."""
        found, count = int(labels.max()) + 1, self.classes or len(self.names)
        need(
            count == 0 or count >= found,
            f"a label is {found - 1} where there are {count} classes: raise classes, or correct it",
        )
        return count or found


def _given(prior: Prior | None) -> Prior:
    """The prior. UserError where there is none."""
    if prior is None:
        raise UserError("give a prior, or features that a network of your own made of the pictures")
    return prior


def own_features(features: list[Tensor], image: Tensor) -> list[Tensor]:
    """Maps (N, c, h, w) of these images (N, C, H, W). UserError for anything else."""
    fits = len(features) > 0 and all(m.ndim == 4 and len(m) == len(image) for m in features)
    shapes = [tuple(m.shape) for m in features]
    need(fits, f"features are {shapes} for {len(image)} pictures: give maps ({len(image)}, channels, h, w)")
    return features


def usable(labels: Tensor, ignore: int, smallest: int) -> Tensor:
    """Pixels to learn from, bool (N, H, W): not `ignore`, nor of a class with few pixels in that image.

    A class with fewer than `smallest` pixels in an image is taken for a slip of the annotator there. The
    labels themselves are left as they are.
    """
    used = labels != ignore
    for row, mask in zip(labels, used, strict=True):
        found, counts = row.unique(return_counts=True)
        mask &= ~torch.isin(row, found[counts < smallest])
    return used


def _copy_members(final: dict[str, Tensor], ensemble: PixelEnsemble, which: Tensor) -> None:
    """Copy the state of the members for which (members,) is True; every array is ordered by member."""
    for name, value in ensemble.state_dict().items():
        if value.ndim:
            rows, own = value.view(ensemble.members, -1), which.to(value.device)
            final[name].view_as(rows)[own] = rows[own]


def depth(prior: Prior) -> int:
    """Number of decoder blocks of the prior's network."""
    return sum(name.startswith("output_blocks") for name in block_names(prior.network))


def shared_noise(prior: Prior, image: Images, run: Run) -> Tensor:
    """The one field (1, C, H, W) that all images of that size are noised with: a function of run.seed."""
    like = torch.empty(1, *image.shape[1:], device=run.device)
    return prior.noise.stream([derive(run.seed, Purpose.FEATURE_FIELD)])(like)


@torch.no_grad()
def read_features(prior: Prior, image: Images, steps: Sequence[int], blocks: Sequence[int], noise: Tensor,
                  run: Run, stored: torch.dtype | None = None) -> list[Tensor]:  # fmt: skip
    """Outputs of decoder blocks, (N, channels, h, w) each, for t in steps, for b in ascending blocks.

    image: (N, C, H, W); noise: (1, C, H, W), added to every image. stored: type of the answer, the network's
    by default. One network call per step and batch. Memory: the answer and the maps of one batch.
    """
    process, count = prior.process, depth(prior)
    need(len(image) > 0, "there is no image to read features of: give some")
    need(len(steps) > 0 and len(blocks) > 0, "give at least one step and one block")
    need(
        all(0 <= t < process.T for t in steps),
        f"this prior has {process.T} steps: choose from 0 to {process.T - 1}",
    )
    need(
        all(0 <= b < count for b in blocks),
        f"this network has {count} decoder blocks, not block "
        f"{max(blocks)}: choose blocks from 0 to {count - 1}",
    )
    network, found = cast(nn.Module, prior.denoiser.network), list[Tensor]()
    for batch in run.batches(len(image)):
        x0, maps = batch.take(image), []
        for t in steps:
            x = process.combine(x0, noise.to(x0).expand_as(x0), t + 1)
            label = network_labels(process.label, t + 1, x)
            maps += activations(network, x, label, list(blocks)).values()
        if not found:
            # Channels last, as single pixels are looked up: no further copy is needed then.
            shapes = [(len(image), *m.shape[1:]) for m in maps]
            found = [
                torch.empty(s, dtype=stored or m.dtype, device=m.device, memory_format=torch.channels_last)
                for s, m in zip(shapes, maps, strict=True)
            ]
        for whole, rows in zip(found, maps, strict=True):
            whole[batch.rows] = rows
    return found


@torch.inference_mode()
def predict(ensemble: PixelEnsemble, maps: Sequence[Tensor], size: tuple[int, ...]) -> Segmentation:
    """Majority vote and disagreement of the members on whole images. maps: (B, C, h, w) each."""
    votes = mean = entropy = torch.zeros(())
    for k in range(ensemble.members):
        logits = ensemble.logits(k, maps, size)
        votes = votes + F.one_hot(logits.argmax(1), ensemble.classes)
        p = logits.softmax(1)
        mean, entropy = mean + p / ensemble.members, entropy + _entropy(p) / ensemble.members
    uncertainty = (_entropy(mean) - entropy).clamp(min=0)
    pixels = uncertainty.flatten(1)
    score = pixels.topk(max(1, pixels.shape[1] // 10), dim=1).values.mean(1)
    return Segmentation(votes.argmax(-1), uncertainty, score)


def _entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p).sum(1, keepdim=True)


def block_step_grid(
    method: DDPMSegmentation,
    prior: Prior,
    learn: tuple[Images, Labels],
    judge: tuple[Images, Labels],
    steps: Sequence[int],
    blocks: Sequence[int],
    run: Run,
) -> Tensor:
    """Mean IoU of classifiers that read one block at one step: float64 (blocks, steps), blocks ascending.

    learn, judge: images (N, C, H, W) with label maps (N, H, W), to fit on and to measure on. `method` gives
    all settings but steps and blocks; fewer classifiers and passes than for a result will do.
    The paper's figure of blocks against steps (Baranchuk et al. 2022, sec. 3).
    """
    blocks = sorted(set(blocks))
    noise = shared_noise(prior, learn[0], run)
    grid = torch.zeros(len(blocks), len(steps), dtype=torch.float64)
    for column, step in run.track(list(enumerate(steps)), "blocks and steps"):
        pairs = (read_features(prior, image, [step], blocks, noise, run) for image in (learn[0], judge[0]))
        for row, (fitted_on, judged_on) in enumerate(zip(*pairs, strict=True)):
            ensemble = method.fit_maps([fitted_on], learn[1], replace(run, progress=False))
            labels = predict(ensemble, [judged_on], judge[1].shape[-2:]).labels
            grid[row, column] = method.evaluate(labels.cpu(), judge[1])["miou"]
    return grid


def feature_clusters(prior: Prior, image: Images, step: int, block: int, k: int, run: Run) -> Labels:
    """k-means clusters of one block's features over all images: int64 (N, h, w) at the block's resolution.

    No label is used: what clusters show, the prior has found by itself (Baranchuk et al. 2022, sec. 3).
    """
    need(k >= 1, f"k is {k}: ask for at least one cluster")
    noise = shared_noise(prior, image, run)
    (found,) = read_features(prior, image, [step], [block], noise, run)
    rows = found.permute(0, 2, 3, 1)
    generator = torch.Generator().manual_seed(derive(run.seed, Purpose.CLUSTERS))
    return kmeans(rows.flatten(0, 2).cpu(), k, generator).view(rows.shape[:3])
