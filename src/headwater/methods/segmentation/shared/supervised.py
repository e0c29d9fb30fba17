"""Supervised segmentation: a U-Net that maps an image to class logits.

DatasetDDPM's second stage, and the baseline of the claims about segmentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.data.augment import with_labels
from headwater.errors import need
from headwater.methods.base import Images, Labels
from headwater.models import PriorConfig
from headwater.models.filling import Parts
from headwater.models.pretrained import Pretrained
from headwater.modes import in_evaluation
from headwater.noise import Purpose, derive
from headwater.sampling import Run, RunOptions
from headwater.training import TrainerConfig, train


def course(steps: int, lr: float = 1e-3) -> TrainerConfig:
    """Batches of 16; a rate that rises over the first twentieth and falls to 0 along half a cosine."""
    return TrainerConfig(
        steps, 16, lr=lr, warmup=max(1, steps // 20), decay="cosine", weight_decay=1e-4, grad_clip=1.0
    )


@dataclass(frozen=True, eq=False)
class FittedUNet(Pretrained):
    """A trained U-Net from images to class logits; the shape of its config is that of the images."""

    config: PriorConfig

    kind = "supervised-unet"
    tags = ("image-segmentation",)

    @classmethod
    def networks(cls, config: PriorConfig) -> Parts:
        return {"network": config.build_network()}

    def predict(self, image: Images, **how: Unpack[RunOptions]) -> Labels:
        """Most likely class of every pixel: (B, C, H, W) to int64 (B, H, W)."""
        return self.logits(image, Run(**how)).argmax(1)

    def probabilities(self, image: Images, **how: Unpack[RunOptions]) -> Tensor:
        """How likely each class is at every pixel: (B, C, H, W) to float32 (B, K, H, W)."""
        return self.logits(image, Run(**how)).softmax(1)

    @torch.inference_mode()
    @in_evaluation
    def logits(self, image: Tensor, run: Run) -> Tensor:
        """What the network answers: (B, C, H, W) to float32 (B, K, H, W)."""
        network = self.network.to(run.device)
        batches = (batch.take(image) for batch in run.batches(len(image)))
        return torch.cat([network(x, x.new_zeros(len(x))).cpu() for x in batches])


@dataclass(frozen=True)
class SupervisedUNet:
    """Cross-entropy on images that are augmented at random."""

    training: TrainerConfig = field(default_factory=lambda: course(2000))
    """Settings of the training."""
    shift: int = 3
    """Largest random shift in pixels; what comes in at the rim repeats the border."""
    mirror: bool = True
    """Whether half of the images are mirrored."""
    hue: bool = True
    """Whether the hue of each image, where it has one, is turned at random."""
    ignore: int = 255
    """Label of pixels that do not count."""
    classes: int = 0
    """Number of classes of the task, where labels may lack some; 0 takes those that occur."""

    def fit(
        self, network: Mapping[str, Any], image: Images, labels: Labels, **how: Unpack[RunOptions]
    ) -> FittedUNet:
        """Train from fresh weights. image (N, C, H, W) in [-1, 1], or 0 to 255 in uint8; labels (N, H, W) in
        int64 or uint8. Only those of a batch are ever turned into float32 and int64.

        network: what `PriorConfig` says of it; it takes no class labels, and its channels are those of the
        images and one for each class. Raises UserError where no pixel is labelled.
        """
        run, counted = Run(**how), labels != self.ignore
        need(bool(counted.any()), "no labelled pixel is left to learn from: check ignore")
        classes = self.classes or int(torch.where(counted, labels, 0).max()) + 1
        return self.train(self.untrained(network, tuple(image.shape[1:]), classes, run), image, labels, run)

    def untrained(
        self, network: Mapping[str, Any], shape: tuple[int, ...], classes: int, run: Run
    ) -> FittedUNet:
        """Fresh weights for images (C, H, W). UserError for sizes that cannot be."""
        channels, height, width = shape
        plain = {k: v for k, v in network.items() if k != "num_classes"}
        own = {"in_channels": channels, "out_channels": classes}
        config = PriorConfig(plain | own, (channels, height, width))
        config.check_side(len(network["channel_mult"]), "the segmenter")
        return FittedUNet.fresh(config, derive(run.seed, Purpose.SUPERVISED))

    def train(self, fitted: FittedUNet, image: Tensor, labels: Tensor, run: Run) -> FittedUNet:
        """Train what `untrained` made, as `fit` does."""

        def loss(network: nn.Module, rows: Tensor, number: int) -> Tensor:
            draws = torch.Generator().manual_seed(derive(run.seed, Purpose.SUPERVISED, number))
            some = from_eight_bits(image[rows])
            both = with_labels(some, labels[rows].long(), draws, self.shift, self.mirror, self.hue)
            x, truth = (v.to(run.device) for v in both)
            return F.cross_entropy(network(x, x.new_zeros(len(x))), truth, ignore_index=self.ignore)

        about = {k: v for k, v in asdict(self).items() if k != "training"}
        return replace(fitted, network=train(fitted.network, loss, len(image), self.training, run, about))


def eight_bits(image: Tensor) -> Tensor:
    """Pictures in [-1, 1] as uint8, 0 to 255."""
    return ((image.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def from_eight_bits(image: Tensor) -> Tensor:
    """Pictures in uint8 as float32 in [-1, 1]; others as they are."""
    return image.float() / 127.5 - 1 if image.dtype == torch.uint8 else image
