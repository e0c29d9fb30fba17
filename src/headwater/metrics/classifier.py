"""A small classifier trained in the run, as evaluator of generated pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.metrics.frechet import frechet_distance
from headwater.modes import in_evaluation


class Classifier(nn.Module):
    """Three strided convolutions and a linear head for small pictures: (B,C,H,W) in [-1, 1] -> (B,K) logits.

    `features` is the pooled last layer, the feature net for Frechet distances.
    """

    def __init__(self, channels: int, classes: int, width: int = 24) -> None:
        super().__init__()
        sizes = [channels, width, 2 * width, 4 * width]
        layers: list[nn.Module] = []
        for inward, outward in pairwise(sizes):
            # Striding at once keeps an epoch over 4,000 pictures of 32 x 32 at a second on one core.
            layers += [
                nn.Conv2d(inward, outward, 4, 2, 1, bias=False),
                nn.BatchNorm2d(outward),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(4 * width, classes)

    def features(self, x: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,D) float32, before the linear head."""
        return self.body(x).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def train_classifier(
    images: Tensor,
    labels: Tensor,
    seed: int,
    epochs: int = 12,
    batch: int = 64,
    width: int = 24,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    disturb: Callable[[nn.Module, Tensor, Tensor, int], Tensor] | None = None,
) -> Classifier:
    """A `Classifier` trained on images (N,C,H,W) in [-1, 1] with labels (N,) from 0.

    Small random turns, shifts and zooms stand in for more data, or what `augment` makes of a batch: `flip`
    where the classes differ by blur, as turned pictures are interpolated. A pure function of its arguments:
    the global random state is left as it was. Returned in eval mode, gradients off.
    disturb: what to learn from instead of each batch, from the classifier in eval mode, the batch, its labels
    and its number: attacked pictures for adversarial training (Madry et al. 2018).
    Raises ValueError where images and labels do not fit.
    """
    if images.ndim != 4 or labels.shape != images.shape[:1] or len(images) < 2:
        raise ValueError("Give images (N,C,H,W) and labels (N,) of one length.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Classifier(images.shape[1], int(labels.max()) + 1, width).to(images.device)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-2)
    steps = epochs * math.ceil(len(images) / batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    net.train()
    number = 0
    for _ in range(epochs):
        for rows in torch.randperm(len(images), generator=generator).split(batch):
            if len(rows) < 2:
                continue  # batch statistics of a single picture are undefined
            shown = (augment or jitter)(images[rows], generator)
            if disturb is not None:
                shown = disturb(net.eval(), shown, labels[rows].long(), number)
                net.train()
            number += 1
            logits = net(shown)
            loss = F.cross_entropy(logits, labels[rows].long(), label_smoothing=0.02)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval().requires_grad_(False)


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each picture (B,C,H,W), or leave it as it is, at random."""
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirrored.to(images.device), images.flip(-1), images)


def jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, zoom and shift each picture (B,C,H,W) a little, at random."""
    n = len(images)
    turn, zoom, right, down = (torch.rand(4, n, generator=generator) * 2 - 1).unbind()
    angle, scale = turn * 0.2, 1 + zoom * 0.1
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = angle.cos() * scale
    theta[:, 0, 1], theta[:, 1, 0] = -angle.sin() * scale, angle.sin() * scale
    theta[:, 0, 2], theta[:, 1, 2] = right * 0.12, down * 0.12
    grid = F.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


@torch.no_grad()
@in_evaluation
def predict(classifier: nn.Module, images: Tensor, batch: int = 256) -> Tensor:
    """Class probabilities (N,K) of images (N,C,H,W)."""
    return torch.cat([classifier(part).softmax(1) for part in images.split(batch)])


@torch.no_grad()
def accuracy(classifier: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images (N,C,H,W) whose most probable class is their label (N,)."""
    return float((predict(classifier, images).argmax(1) == labels).double().mean())


@dataclass(frozen=True)
class Quality:
    """How much generated pictures look like real ones to a classifier.

    Attributes:
        confidence: mean largest class probability, in (0, 1]; read it with `frechet`, since a
            classifier can be sure of pure noise too.
        real_confidence: the same on the real pictures.
        balance: entropy of the histogram of predicted classes over ln K: 1 if all classes are
            equally frequent, 0 if there is only one.
        frechet: Frechet distance of the features of generated and real pictures.
        floor: Frechet distance of two disjoint halves of the real pictures; what `frechet` would
            be for perfect samples.
        n: pictures on each side of both distances.
    """

    confidence: float
    real_confidence: float
    balance: float
    frechet: float
    floor: float
    n: int


@torch.no_grad()
@in_evaluation
def generated_quality(classifier: Classifier, real: Tensor, generated: Tensor) -> Quality:
    """`Quality` of generated (M,C,H,W) against real pictures (N,C,H,W) the classifier never saw.

    Both distances use the same number of pictures against the same real half, since the estimate
    depends on the sample size. `real` should come shuffled. Raises ValueError below 4 and 2.
    """
    n = min(len(generated), len(real) // 2)
    if n < 2:
        raise ValueError("Give at least 4 real and 2 generated pictures.")
    probabilities = predict(classifier, generated)
    classes = probabilities.shape[1]
    share = torch.bincount(probabilities.argmax(1), minlength=classes).double() / len(generated)
    entropy = max(0.0, -float(torch.xlogy(share, share).sum()))

    def features(images: Tensor) -> Tensor:
        return torch.cat([classifier.features(part) for part in images.split(256)])

    reference, other = features(real[0 : 2 * n : 2]), features(real[1 : 2 * n : 2])
    return Quality(
        confidence=float(probabilities.max(1).values.mean()),
        real_confidence=float(predict(classifier, real).max(1).values.mean()),
        balance=entropy / math.log(classes),
        frechet=frechet_distance(features(generated[:n]), reference),
        floor=frechet_distance(other, reference),
        n=n,
    )
