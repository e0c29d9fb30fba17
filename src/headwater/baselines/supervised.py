"""Supervised segmentation: a U-Net of a prior's architecture that maps an image to class logits.

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

    @torch.inference_mode()
    @in_evaluation
    def predict(self, image: Images, **how: Unpack[RunOptions]) -> Labels:
        """Most likely class of every pixel: (B, C, H, W) to int64 (B, H, W)."""
        run = Run(**how)
        network = self.network.to(run.device)
        batches = (batch.take(image) for batch in run.batches(len(image)))
        return torch.cat([network(x, x.new_zeros(len(x))).argmax(1).cpu() for x in batches])


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

    def fit(
        self, network: Mapping[str, Any], image: Images, labels: Labels, **how: Unpack[RunOptions]
    ) -> FittedUNet:
        """Train from fresh weights. image (N, C, H, W) in [-1, 1]; labels int64 (N, H, W).

        network: what `PriorConfig` says of it; it takes no class labels, and its channels are those of the
        images and one for each class. Raises UserError where no pixel is labelled.
        """
        run, counted = Run(**how), labels != self.ignore
        need(bool(counted.any()), "no labelled pixel is left to learn from: check ignore")
        channels, height, width = image.shape[1:]
        plain = {k: v for k, v in network.items() if k != "num_classes"}
        own = {"in_channels": channels, "out_channels": int(labels[counted].max()) + 1}
        config = PriorConfig(plain | own, (channels, height, width))
        fitted = FittedUNet.fresh(config, derive(run.seed, Purpose.SUPERVISED))

        def loss(network: nn.Module, rows: Tensor, number: int) -> Tensor:
            draws = torch.Generator().manual_seed(derive(run.seed, Purpose.SUPERVISED, number))
            both = with_labels(image[rows], labels[rows], draws, self.shift, self.mirror, self.hue)
            x, truth = (v.to(run.device) for v in both)
            return F.cross_entropy(network(x, x.new_zeros(len(x))), truth, ignore_index=self.ignore)

        about = {k: v for k, v in asdict(self).items() if k != "training"}
        return replace(fitted, network=train(fitted.network, loss, len(image), self.training, run, about))
