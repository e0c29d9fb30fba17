"""DatasetDDPM: a segmenter that learns from pictures which a prior draws and DDPM-Seg labels."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Unpack

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from headwater.atomic import is_whole, read_json, write_json, written_aside
from headwater.digest import digest
from headwater.errors import need
from headwater.methods.base import Images, Labels, Paper
from headwater.methods.segmentation.ddpm_segmentation.method import DDPMSegmentation, PixelClassifiers
from headwater.methods.segmentation.shared.supervised import (
    FittedUNet,
    SupervisedUNet,
    eight_bits,
    from_eight_bits,
)
from headwater.models import Prior
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.noise import Purpose, derive
from headwater.sampling import Run, RunOptions, SamplerName
from headwater.training import TrainerConfig

CHUNK = 256
"""Pictures that are drawn, labelled and put away together."""


@dataclass(frozen=True)
class DatasetDDPM(DDPMSegmentation):
    """Let a prior draw pictures, label them by pixel classifiers that were fitted on a few, and train a plain
    segmenter on the pairs: afterwards a picture costs one forward pass, and no prior (Baranchuk et al. 2022,
    sec. 4.2).

        x_i          ~ prior                                                i = 1 .. samples
        y_i, u_i     = labels and uncertainty of x_i by DDPM-Seg, fitted on the labelled pictures
        segmenter    = argmin  mean cross entropy(network(x_i), y_i)        over all i but the share `drop`
                                                                            of largest u_i

    All settings of DDPM-Seg are its classifiers'. Pairs are drawn, labelled and kept in 8 bits, 256 at a
    time: 50,000 of 256 x 256 take 13 GB, where their features would take terabytes and floats 39 GB; with a
    folder of checkpoints they lie there too, and a fit that was stopped goes on behind the last 256.

    Deviates from the reference code: exactly the most uncertain share is dropped (its slice drops the 30
    most certain pictures too and keeps as many of the most uncertain); the segmenter is a U-Net with fresh
    weights (there DeepLabV3 on a ResNet-101), and of its training the last state is taken (there the epoch
    with the best mean IoU on labelled pictures, which few labels are too few to spare for).

    >>> import headwater as hw
    >>> from headwater.nets.adm_blocks import UNetArchitecture
    >>> from headwater.training import TrainerConfig
    >>> prior, emoji = hw.Prior.from_pretrained("emoji-parts"), hw.load("emoji-parts-hue", "pool", 32)
    >>> method = hw.DatasetDDPM(
    ...     steps=(50,), blocks=(1, 2), ensemble=2, epochs=1, smallest=3, samples=4, sampling_steps=2,
    ...     network=UNetArchitecture(32, (1, 2), 1, ()), training=TrainerConfig(2, 2),
    ... )
    >>> fitted = method.fit(prior, emoji.images[:2], emoji.labels[:2], seed=0, progress=False)
    >>> tuple(method.apply(emoji.images[2:4], fitted).shape)
    (2, 32, 32)
    """

    paper: ClassVar[Paper] = replace(
        DDPMSegmentation.paper,
        claim="A segmenter that learnt from pictures which a prior drew and pixel classifiers labelled comes "
        "near these classifiers, and beats one that learnt from the few labelled pictures.",
    )

    samples: int = 50_000
    """Number of pictures that the prior draws."""
    drop: float = 0.1
    """Share of the pictures that is left out, the most uncertain ones, from 0 to below 1."""
    sampling_steps: int | None = None
    """Number of network calls for each drawn picture; None takes every timestep of the prior."""
    sampler: SamplerName = "ancestral"
    """Sampler that draws the pictures; all but `ancestral` get by with fewer steps."""
    network: UNetArchitecture = field(
        default_factory=lambda: UNetArchitecture(64, (1, 2, 4, 8), 2, (), dropout=0.1)
    )
    """Sizes of the segmenter."""
    training: TrainerConfig = field(default_factory=lambda: TrainerConfig(112_500, 8, 1e-3))
    """How the segmenter is trained; by default for the paper's 20 passes over 45,000 pictures."""

    def fit(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, prior: Prior, image: Images, labels: Labels, **how: Unpack[RunOptions]
    ) -> FittedUNet:
        """Fit the classifiers on `image` (N, C, H, W) in [-1, 1] with `labels` (N, H, W), as DDPM-Seg does;
        draw and label pictures; train the segmenter on them.

        Raises UserError as DDPM-Seg's `fit`, and for a share or number of pictures that cannot be.
        """
        need(0 <= self.drop < 1, f"drop is {self.drop}: give a share from 0 to below 1")
        need(self.samples >= 1, f"samples is {self.samples}: draw at least one picture")
        run = Run(**how)
        start = self.untrained(tuple(image.shape[1:]), self.class_count(labels), run)
        classifiers = super().fit(prior, image, labels, **run)
        return self.segment(start, *self.pairs(prior, classifiers, run), run)

    def untrained(self, shape: tuple[int, ...], classes: int, run: Run) -> FittedUNet:
        """The segmenter with fresh weights. UserError for sizes that cannot be, before any picture is
        drawn."""
        return self._learner.untrained({"kind": "adm", **asdict(self.network)}, shape, classes, run)

    def segment(self, start: FittedUNet, drawn: Tensor, maps: Tensor, run: Run) -> FittedUNet:
        """The segmenter, trained on drawn pictures and their label maps."""
        return self._learner.train(start, drawn, maps, run)

    @property
    def _learner(self) -> SupervisedUNet:
        return SupervisedUNet(self.training, 0, False, False, self.ignore)

    def pairs(self, prior: Prior, classifiers: PixelClassifiers, run: Run) -> tuple[Tensor, Tensor]:
        """What the segmenter learns from: pictures (n, C, H, W) and label maps (n, H, W), both uint8.

        The samples that are left when the floor(samples * drop) most uncertain are dropped, in the order in
        which they were drawn. Picture i depends on the seed and i alone.
        """
        need(
            classifiers.config.classes <= 256, "label maps of drawn pictures are kept in 8 bits: 256 classes"
        )
        starts = range(0, self.samples, CHUNK)
        parts = [self._chunk(prior, classifiers, run, i) for i in run.track(starts, "drawn pictures")]
        score = torch.cat([part["score"] for part in parts])
        kept = score.argsort(stable=True)[: self.samples - int(self.samples * self.drop)].sort().values
        drawn, maps = (torch.cat([part[name] for part in parts]) for name in ("image", "labels"))
        return drawn[kept], maps[kept]

    def _chunk(self, prior: Prior, classifiers: PixelClassifiers, run: Run, start: int) -> dict[str, Tensor]:
        """Pictures, label maps and uncertainties from number `start` on, read back if they lie there."""
        n, folder = min(CHUNK, self.samples - start), run.child(f"pairs-{start:08}").checkpoint_dir
        mark = self._mark(prior, classifiers, run) if folder else ""
        if (
            folder is not None
            and is_whole(folder)
            and read_json(folder / "pairs.json") == {"mark": mark, "n": n}
        ):
            return load_file(folder / "pairs.safetensors")
        own = replace(run, seed=derive(run.seed, Purpose.DATASET_SAMPLES), first=start, progress=False)
        drawn = eight_bits(prior.sample(n, self.sampling_steps, self.sampler, **own))
        found = super().apply(prior, from_eight_bits(drawn), classifiers, **own)
        part = {"image": drawn, "labels": found.labels.to(torch.uint8), "score": found.score}
        if folder is not None:
            _put(folder, part, {"mark": mark, "n": n})
        return part

    def _mark(self, prior: Prior, classifiers: PixelClassifiers, run: Run) -> str:
        """What decides drawn pictures and their labels."""
        return digest((self.sampling_steps, self.sampler, run.seed, prior.hash, classifiers.hash))

    def apply(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, image: Images, fitted: FittedUNet, **how: Unpack[RunOptions]
    ) -> Labels:
        """Label every pixel by one forward pass. image: (B, C, H, W) in [-1, 1], of the prior's size.

        Raises UserError for images of another shape.
        """
        fitted.check(image)
        need(len(image) > 0, "there is no image to label: give some")
        return fitted.predict(image, **how)


def _put(folder: Path, part: dict[str, Tensor], about: dict[str, object]) -> None:
    """Write a chunk, whole or not at all."""
    with written_aside(folder) as aside:
        save_file({name: value.contiguous() for name, value in part.items()}, aside / "pairs.safetensors")
        write_json(aside / "pairs.json", about)
