"""Supervised segmentation: a U-Net of the prior's own architecture that maps a picture to class logits.

DatasetDDPM's second stage, and the baseline of every few-label claim. The paper trains a DeepLabV3 there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.core.noise import derive
from headwater.data.augment import rotate_hue
from headwater.errors import need
from headwater.methods.base import Images, Labels
from headwater.priors import PriorConfig
from headwater.run import Run


@dataclass(frozen=True)
class SupervisedUNet:
    """Adam with a learning rate that falls to 0 along half a cosine; the last weights count."""

    steps: int = 2000
    """Optimiser steps."""
    batch: int = 16
    """Pictures in a step, each changed at random as the fields below say."""
    lr: float = 1e-3
    """Peak learning rate, after a warm-up over the first twentieth."""
    shift: int = 3
    """Largest random shift in pixels; what comes in at the rim repeats the border."""
    mirror: bool = True
    """Mirror half of the pictures."""
    hue: bool = True
    """Turn the hue of each picture, where it has one."""
    ignore: int = 255
    """Label of pixels that do not count."""

    def fit(self, architecture: PriorConfig, image: Images, labels: Labels, run: Run) -> nn.Module:
        """Train from fresh weights. image (N, C, H, W) in [-1, 1]; labels int64 (N, H, W).

        architecture: the prior whose network is used, with one output channel per class; its weights play
        no part.
        """
        seen = labels != self.ignore
        need(bool(seen.any()), "no labelled pixel is left to learn from: check ignore")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(run.seed, _SUPERVISED, 0))
            network = _bare(architecture, int(labels[seen].max()) + 1).to(run.device)
            self._train(network, image, labels, run)
        return network.eval()

    def _train(self, network: nn.Module, image: Images, labels: Labels, run: Run) -> None:
        generator = torch.Generator().manual_seed(derive(run.seed, _SUPERVISED))
        optimiser = torch.optim.AdamW(network.parameters(), self.lr, weight_decay=1e-4)
        rise = max(1, self.steps // 20)
        rate = torch.optim.lr_scheduler.LambdaLR(
            optimiser,
            lambda k: min(1, (k + 1) / rise) * (1 + math.cos(k / self.steps * math.pi)) / 2,
        )
        network.train()
        for _ in run.watch(range(self.steps), what="supervised U-Net"):
            rows = torch.randint(len(image), (self.batch,), generator=generator)
            x, truth = self.change(image[rows], labels[rows], generator)
            answer = network(x.to(run.device), torch.zeros(len(x), device=run.device))
            loss = F.cross_entropy(answer, truth.to(run.device), ignore_index=self.ignore)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            rate.step()

    def change(self, image: Images, labels: Labels, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Each picture with its label map mirrored, shifted and hue-turned at random, as one."""
        n, (height, width) = len(image), image.shape[-2:]
        reach = self.shift
        x = F.pad(image, (reach,) * 4, mode="replicate")
        y = F.pad(labels[:, None].float(), (reach,) * 4, mode="replicate").long()[:, 0]
        mirrored = (torch.rand(n, generator=generator) < 0.5) & self.mirror
        corners = torch.randint(2 * reach + 1, (n, 2), generator=generator).tolist()
        rows: list[tuple[Tensor, Tensor]] = []
        for i, (top, left) in enumerate(corners):
            cut = (slice(top, top + height), slice(left, left + width))
            one, its = x[i][:, cut[0], cut[1]], y[i][cut]
            rows.append((one.flip(-1), its.flip(-1)) if mirrored[i] else (one, its))
        x, y = (torch.stack(v) for v in zip(*rows, strict=True))
        if self.hue and x.shape[1] == 3:
            x = rotate_hue(x, 360 * torch.rand(n, generator=generator))
        return x, y


@torch.inference_mode()
def predict_supervised(network: nn.Module, image: Images, run: Run) -> Labels:
    """Most likely class of every pixel: (B, C, H, W) to int64 (B, H, W)."""
    found = []
    for rows, _ in run.chunks(len(image)):
        x = image[rows].to(run.device)
        found.append(network(x, torch.zeros(len(x), device=run.device)).argmax(1).cpu())
    return torch.cat(found)


def _bare(architecture: PriorConfig, classes: int) -> nn.Module:
    network = {k: v for k, v in architecture.network.items() if k != "num_classes"}
    bare = PriorConfig({**network, "out_channels": classes}, architecture.shape)
    return bare.build_network()


_SUPERVISED = 0x53555045
