"""EGSDE: carry pictures of one domain into another, with a prior of the second and a classifier of both."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import ClassVar, Literal, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.core import Control, Diffusion, Prediction
from headwater.core.guidance import gradient
from headwater.core.prediction import labels
from headwater.core.transition import Coefficient, Level, NoiseSource, Transition, fit, root
from headwater.errors import need
from headwater.methods.base import Collection, Images, Method, Paper
from headwater.methods.translation.sdedit.method import SDEdit
from headwater.metrics.image import ssim
from headwater.models import Prior, ProcessConfig
from headwater.models.filling import Parts
from headwater.models.pretrained import Pretrained
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.nets.adm_classifier import Classifier, ClassifierConfig
from headwater.noise import Purpose, derive
from headwater.operators import LowPass
from headwater.sampling import Batch, Run, RunOptions
from headwater.training import TrainerConfig, train
from headwater.training.timesteps import uniform

PAPER_PIXELS = 256 * 256
"""Of the pictures that the paper's weights are for."""
Likeness = Literal["cosine", "squared"]


@dataclass(frozen=True)
class DomainsConfig:
    """The classifier of both domains, the pictures and the process that it was trained on."""

    network: ClassifierConfig
    shape: tuple[int, int, int]
    """(C, H, W) of the pictures."""
    process: ProcessConfig
    """That of the prior, whose timesteps the classifier is told."""

    def __post_init__(self) -> None:
        reads = self.network.in_channels
        need(reads == self.shape[0], f"the classifier reads {reads} channels, pictures have {self.shape[0]}")


@dataclass(frozen=True, eq=False)
class DomainClassifier(Pretrained):
    """What `EGSDE.fit` returns: a classifier of noised pictures, 0 for the source and 1 for the target."""

    network: Classifier
    config: DomainsConfig

    kind = "egsde"
    tags = ("image-to-image", "image-classification")

    @classmethod
    def networks(cls, config: DomainsConfig) -> Parts:
        return {"network": Classifier(config.network)}

    def features(self, x: Tensor, label: Tensor) -> Tensor:
        """Output of the middle block (B, C', h, w) for noised pictures of unit variance."""
        return self.network.features(x, label)


@dataclass(frozen=True)
class EGSDE(Method):
    """Noise a picture of the source domain up to `level` and let a prior of the target domain denoise it, off
    what tells the source's domain and towards the source's coarse content (Zhao et al. 2022, Alg. 1).

        y   = alpha x + sigma e                                     x the source, at `level`
        x_t = alpha_t x + sigma_t e'                                at every step
        y_s ~ p(y_s | y_t) shifted by  -w grad_y (realism E_s + faithfulness E_i),    w = b^2 / a
        E_s = cos(F(y_t), F(x_t))                                   F a classifier of both domains, noised
        E_i = |phi(y_t) - phi(x_t)|^2                               phi shrinks by `factor` and enlarges again

    where y_t given y_s is N(a y_s, b^2), so that w is the paper's beta / sqrt(1 - beta) for single timesteps.
    Both weights 0 is SDEdit. F is the middle block of a classifier that `fit` trains on pictures of both
    domains; they need not be paired.

    E_i is a sum over pixels and so moves each of them alike in pictures of any size. The paper's cosine is a
    mean over positions, whose pull on a pixel falls with their number: here it counts H W / 256^2, so that
    the paper's 500 and 2 mean the same at every size; for 64 x 64 its code would take 31 and 2. In pictures
    of 32 x 32, `factor` 4 leaves as many coarse pixels as its 32 in those of 256 x 256.

    Deviates from the reference code: x_t has noise of its own at every step, as the paper prints it (there
    that of the start, at all of them); the classifier begins with fresh weights or the prior's encoder (there
    with an ImageNet classifier), sees as many pictures of one domain as of the other, and pools by the mean,
    which takes pictures of any sides (there by attention); a prior's learned variances are used; estimates
    are clipped where the prior says so; steps may be skipped, but none may carry phi(y) beyond phi(x). Where
    a prior's variance explodes, both energies see y and x_t scaled to unit variance. There are two domains,
    not three.

    >>> import headwater as hw
    >>> prior, emoji = hw.Prior.from_pretrained("emoji"), hw.load("emoji", "train", 32)
    >>> fluent, noto = (emoji.images[emoji.labels == style] for style in (0, 1))
    >>> small = UNetArchitecture(32, (1, 1), 1, ())
    >>> training = TrainerConfig(steps=2, batch_size=2)
    >>> method = hw.EGSDE(level=200, steps=4, factor=4, network=small, training=training)
    >>> fitted = method.fit(prior, fluent[:8], noto[:8], seed=0)
    >>> method.apply(prior, fluent[8:9], fitted, seed=0).shape
    torch.Size([1, 3, 32, 32])
    """

    paper: ClassVar[Paper] = Paper(
        title="EGSDE: Unpaired Image-to-Image Translation via Energy-Guided Stochastic Differential "
        "Equations",
        authors="Min Zhao, Fan Bao, Chongxuan Li, Jun Zhu",
        year=2022,
        venue="NeurIPS",
        arxiv="2207.06635",
        code="ML-GSAI/EGSDE",
        claim="Energies of a classifier of both domains and of coarse content translate unpaired pictures "
        "more realistically than SDEdit at equal faithfulness; each energy moves its own measure.",
    )
    needs: ClassVar[tuple[str, ...]] = (
        "an unconditional prior of the target domain",
        "pictures of both domains, unpaired, to train a classifier on",
    )
    applied: ClassVar[tuple[str, ...]] = (
        "level", "steps", "repeats", "realism", "faithfulness", "factor", "realism_by", "faithfulness_by",
    )  # fmt: skip

    level: int = 500
    """Timestep that sources are noised to, of the prior's 1,000: too low keeps the source's domain, too high
    forgets the source."""
    steps: int | None = None
    """Number of denoising steps from there, each one network call, two calls of the classifier and one
    gradient; None takes every timestep."""
    repeats: int = 1
    """Number of times that the result is noised and denoised again."""
    realism: float = 500.0
    """Weight of the energy that drives out what tells the source's domain; 0 is none."""
    faithfulness: float = 2.0
    """Weight of the energy that holds the coarse content; 0 is none."""
    factor: int = 32
    """Number of pixels to a side that the coarse content sums up in one."""
    realism_by: Likeness = "cosine"
    """Likeness of features to the source's: their cosine, or their negative squared distance."""
    faithfulness_by: Likeness = "squared"
    """Likeness of coarse content to the source's: the cosine of colours, or the negative squared distance."""
    network: UNetArchitecture = field(
        default_factory=lambda: UNetArchitecture(
            128, (1, 1, 2, 2, 4, 4), 2, (8, 16, 32), num_head_channels=64, resblock_updown=True
        )
    )
    """Architecture of the classifier, the encoder of such a U-Net, by default for pictures of 256 x 256."""
    pool: Literal["adaptive", "attention", "spatial", "spatial_v2"] = "adaptive"
    """Pooling of the classifier's head, which translating never calls: the paper's is attention, which takes
    square pictures only."""
    begin: Literal["fresh", "prior"] = "fresh"
    """Weights that the classifier's encoder begins with: fresh ones, or those of the prior's own encoder,
    which knows noised pictures and so learns in fewer steps; `network` must then be the prior's."""
    mirror: bool = True
    """Whether half of the classifier's training pictures are mirrored, left to right."""
    training: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(5000, 32, 3e-4, decay="linear", weight_decay=0.05)
    )
    """Settings of the classifier's training."""

    def fit(
        self, prior: Prior, source: Collection, target: Collection, **how: Unpack[RunOptions]
    ) -> DomainClassifier:
        """Train the classifier of both domains on pictures noised as the prior's, at uniform timesteps.

        source, target: (N, C, H, W) in [-1, 1] of the prior's shape, any number of each. The prior's network
        is not called. Raises UserError for pictures of other sizes, or sides that the network cannot halve.
        """
        run, q, domains = Run(**how), prior.process, (source, target)
        for name, images in (("source", source), ("target", target)):
            need(len(images) > 0, f"{name} is empty: give pictures of both domains")
            prior.check(images)
        config = DomainsConfig(self.classifier(prior.shape), prior.shape, prior.config.process)
        fitted = DomainClassifier.fresh(config, derive(run.seed, Purpose.DOMAIN_WEIGHTS))
        if self.begin == "prior":
            fitted.network.load_state_dict(encoder_of(prior, fitted.network))

        def loss(network: nn.Module, rows: Tensor, number: int) -> Tensor:
            draws = torch.Generator().manual_seed(derive(run.seed, Purpose.DOMAIN_TIMESTEPS, number))
            t, domain = uniform(len(rows), q.T, draws), rows % 2
            mirrored = ((torch.rand(len(rows), generator=draws) < 0.5) & self.mirror)[:, None, None, None]
            some = [domains[row % 2] for row in rows.tolist()]
            x0 = torch.stack([all_[row // 2 % len(all_)] for all_, row in zip(some, rows, strict=True)])
            seeds = [derive(run.seed, Purpose.DOMAIN_NOISE, number, k) for k in range(len(rows))]
            x = q.sample(torch.where(mirrored, x0.flip(-1), x0), t, prior.noise.stream(seeds))
            x = fit(unit(q, t), x) * x
            logits = network(x.to(run.device), labels(q.label, t, x).to(run.device))
            return F.cross_entropy(logits, domain.to(run.device))

        items = 2 * max(len(source), len(target))  # the smaller domain is gone through more often
        trained = train(fitted.network, loss, items, self.training, run, self.learnt())
        return replace(fitted, network=trained)

    def classifier(self, shape: tuple[int, int, int]) -> ClassifierConfig:
        """The classifier of two domains of such pictures. Raises UserError where the sides do not fit."""
        channels, height, width = shape
        square = self.pool != "attention" or height == width
        need(square, f"pictures are {height} x {width} and pool attention takes square ones: set another")
        config = ClassifierConfig(
            in_channels=channels, out_channels=2, pool=self.pool,
            image_size=height if self.pool == "attention" else None, **asdict(self.network),
        )  # fmt: skip
        fold = config.downsampling
        fits = height % fold == 0 and width % fold == 0
        need(fits, f"pictures are {height} x {width}: take a network whose levels halve them, not by {fold}")
        return config

    def apply(
        self, prior: Prior, image: Images, fitted: DomainClassifier, **how: Unpack[RunOptions]
    ) -> Images:
        """Translate pictures of the source domain, one each.

        image: the sources, (B, C, H, W) in [-1, 1]. Returns (B, C, H, W). Raises UserError when shapes
        disagree, or the classifier was fitted to another noise schedule.
        """
        q, sides = prior.process, image.shape[-2:]
        fitted.check(image)
        own = fitted.config.process.build()
        # The config of a network of pictures in [0, 1] speaks of half the noise.
        alike = any(torch.equal(scale * own.sigma, q.sigma) for scale in (1, 2))
        same = torch.equal(own.alpha, q.alpha) and alike
        need(
            same,
            "the classifier was fitted to another noise schedule than this prior's: fit it with this one",
        )
        need(
            min(self.realism, self.faithfulness) >= 0, "realism and faithfulness are weights: give 0 or more"
        )
        need(1 < self.factor <= min(sides), f"factor is {self.factor}: give a number from 2 to {min(sides)}")
        low_pass = LowPass.of(self.factor, sides, "linear")

        plan = SDEdit(self.level, self.steps, self.repeats).plan(q.T)
        guided = self.realism > 0 or self.faithfulness > 0
        for t, s in pairwise(plan if guided else []):  # declines before any network call
            if s < t:
                self.step(q, t, s)

        def energies(source: Tensor, batch: Batch) -> Sequence[Control]:
            if not guided:
                return []
            return [Energies(self, source, q, batch.noise, fitted.features, low_pass)]

        return SDEdit(self.level, self.steps, self.repeats).draw(prior, image, energies, Run(**how))

    def step(self, q: Diffusion, t: int, s: int) -> tuple[float, float]:
        """w of a step from t to s, and what scales y_t to unit variance. UserError where it goes too far."""
        a, b, scale = map(float, (*q.between(s, t), unit(q, t)))
        need(a > 0, f"level {t} of this prior is pure noise and knows no source: set a lower one")
        w = b * b / a
        reach = 2 * w * scale * scale * self.faithfulness
        need(
            self.faithfulness_by != "squared" or reach <= 1,
            f"a step at timestep {t} carries coarse content {reach:.2g} times as far as the source's, beyond "
            "it: lower faithfulness, or take more steps",
        )
        return w, scale

    def evaluate(self, translated: Images, truth: Images) -> dict[str, float]:
        """How faithful translated pictures are to their sources, `truth`; realism takes a judge.

        rmse, psnr: as SDEdit's. l2: mean over pictures of the Euclidean distance, range [0, 1], as the paper
        counts it, which grows with the size of pictures. ssim: structural similarity.
        """
        found = SDEdit().evaluate(translated, truth)
        l2 = ((translated - truth) / 2).double().flatten(1).norm(dim=1).mean()
        return {**found, "l2": float(l2), "ssim": float(ssim(translated, truth).mean())}


def encoder_of(prior: Prior, classifier: Classifier) -> dict[str, Tensor]:
    """The classifier's weights, all but the head's replaced by the prior's. UserError where these differ."""
    own, held = classifier.state_dict(), prior.network.state_dict()
    names = [name for name in own if not name.startswith("out.")]
    same = all(name in held and held[name].shape == own[name].shape for name in names)
    need(same, "the prior's encoder is of another architecture: set network to the prior's, or begin fresh")
    return own | {name: held[name] for name in names}


def unit(q: Diffusion, t: Level) -> Coefficient:
    """What scales x_t to about unit variance: 1 where the process preserves variance."""
    alpha, sigma = q.scales(t)
    return 1 / root(alpha * alpha + sigma * sigma)


def likeness(a: Tensor, b: Tensor, by: Likeness, pixels: int) -> Tensor:
    """How alike two maps (B, C, h, w) of pictures of so many pixels are, (B,): see `EGSDE`."""
    if by == "squared":
        return -(a - b).square().flatten(1).sum(1)
    need(by == "cosine", f"likeness is by {by!r}: choose cosine or squared")
    cosine = (F.normalize(a, dim=1, eps=1e-10) * F.normalize(b, dim=1, eps=1e-10)).sum(1)
    return pixels / PAPER_PIXELS * cosine.mean((1, 2))


@dataclass(frozen=True, eq=False)
class Energies(Control):
    """Shifts each step down both energies of `source` (B, C, H, W), noised to the timestep of y afresh."""

    method: EGSDE
    source: Tensor
    process: Diffusion
    noise: NoiseSource
    features: Callable[[Tensor, Tensor], Tensor]
    low_pass: LowPass

    def transition(self, dist: Transition, pred: Prediction, s: int) -> Transition:
        assert isinstance(pred.t, int)
        w, scale = self.method.step(self.process, pred.t, s)
        noised = self.process.sample(self.source, pred.t, self.noise)
        return dist.shift(-w * gradient(lambda y: self.energy(scale * y, scale * noised, pred.label), pred.x))

    def energy(self, y: Tensor, x: Tensor, label: Tensor) -> Tensor:
        """Both energies, weighted, of y and the source x, (B, C, H, W) noised alike, (B,)."""
        m, pixels, label = self.method, math.prod(y.shape[-2:]), label.clone()
        total = torch.zeros_like(y[:, 0, 0, 0])
        if m.realism:
            with torch.no_grad():
                of_source = self.features(x, label)
            total = total + m.realism * likeness(self.features(y, label), of_source, m.realism_by, pixels)
        if m.faithfulness:
            coarse = likeness(self.low_pass(y), self.low_pass(x), m.faithfulness_by, pixels)
            total = total - m.faithfulness * coarse
        return total
