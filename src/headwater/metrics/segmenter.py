"""A small segmenter trained in the run, as judge of pictures that were drawn from label maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.errors import need
from headwater.metrics.frechet import frechet_distance
from headwater.metrics.segmentation import mean_iou
from headwater.modes import in_evaluation

IGNORED = 255
"""Label of pixels that do not count."""


class Segmenter(nn.Module):
    """Three levels, for small pictures of any sides: (B,C,H,W) in [-1, 1] -> (B,K,H,W) logits."""

    def __init__(self, channels: int, classes: int, width: int = 24) -> None:
        super().__init__()
        self.first = _block(channels, width)
        self.second = _block(width, 2 * width, stride=2)
        self.third = _block(2 * width, 4 * width, stride=2)
        self.back = _block(6 * width, 2 * width)
        self.last = _block(3 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def levels(self, x: Tensor) -> list[Tensor]:
        """What it sees at full, half and quarter size, (B, D, h, w) each."""
        fine = self.first(x)
        half = self.second(fine)
        return [fine, half, self.third(half)]

    def forward(self, x: Tensor) -> Tensor:
        fine, half, coarse = self.levels(x)
        half = self.back(torch.cat([half, _like(coarse, half)], 1))
        return self.head(self.last(torch.cat([fine, _like(half, fine)], 1)))


def _block(inward: int, outward: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inward, outward, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outward), nn.ReLU())


def _like(x: Tensor, other: Tensor) -> Tensor:
    return F.interpolate(x, size=other.shape[-2:], mode="nearest")


def train_segmenter(
    images: Tensor, labels: Tensor, classes: int, seed: int, steps: int | None = None, batch: int = 32
) -> Segmenter:
    """A `Segmenter` trained on images (N,C,H,W) in [-1, 1] with label maps int64 (N,H,W) below `classes`.

    steps: updates, by default 12 for each image, 300 at most. Half of each batch is mirrored. A pure function
    of its arguments: the global random state stays. Returned in eval mode, gradients off. Raises UserError
    where images and maps do not fit.
    """
    need(
        len(images) >= 2 and labels.shape == (len(images), *images.shape[-2:]),
        f"pictures are {tuple(images.shape)}, maps {tuple(labels.shape)}: give one map of the same size "
        "for each of two pictures or more",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Segmenter(images.shape[1], classes).to(images.device)
    steps = min(300, 12 * len(images)) if steps is None else steps
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    truth = labels.where((labels >= 0) & (labels < classes), IGNORED)
    net.train()
    for _ in range(steps):
        rows = torch.randint(len(images), (max(2, min(batch, len(images))),), generator=generator)
        mirrored = torch.rand(len(rows), 1, 1, generator=generator) < 0.5
        shown = torch.where(mirrored[:, None].to(images.device), images[rows].flip(-1), images[rows])
        wanted = torch.where(mirrored.to(labels.device), truth[rows].flip(-1), truth[rows])
        loss = F.cross_entropy(net(shown), wanted, ignore_index=IGNORED)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval().requires_grad_(False)


@torch.no_grad()
@in_evaluation
def segment(segmenter: nn.Module, images: Tensor, batch: int = 256) -> Tensor:
    """Most likely class of every pixel of images (N,C,H,W), int64 (N,H,W)."""
    return torch.cat([segmenter(part).argmax(1) for part in images.split(batch)])


@torch.no_grad()
@in_evaluation
def pooled(segmenter: Segmenter, images: Tensor) -> Tensor:
    """What it sees in images (N,C,H,W) at quarter size, averaged over pixels: (N,D)."""
    return torch.cat([segmenter.levels(part)[-1].mean((2, 3)) for part in images.split(256)])


@torch.no_grad()
@in_evaluation
def appearance_distance(segmenter: Segmenter, images: Tensor, others: Tensor) -> Tensor:
    """How different each image (N,C,H,W) looks from its partner, (N,): the squared distance of what the
    segmenter sees, each pixel's vector brought to length 1, averaged over pixels and levels (as LPIPS,
    Zhang et al. 2018, without its weights)."""
    pairs = zip(segmenter.levels(images), segmenter.levels(others), strict=True)
    unit = ((F.normalize(a, dim=1), F.normalize(b, dim=1)) for a, b in pairs)
    return torch.stack([(a - b).square().sum(1).mean((1, 2)) for a, b in unit]).mean(0)


def judged(
    drawn: Tensor,
    labels: Tensor,
    truth: Tensor | None = None,
    found: Tensor | None = None,
    again: Tensor | None = None,
) -> dict[str, float]:
    """How well images (N,C,H,W) drawn from label maps int64 (N,H,W) follow these; see `SDM.evaluate`.

    Raises UserError where shapes disagree, or there is nothing to judge by.
    """
    for name, other in (("truth", truth), ("again", again)):
        need(
            other is None or other.shape == drawn.shape,
            f"{name} is {None if other is None else tuple(other.shape)} and the drawn pictures "
            f"{tuple(drawn.shape)}: give one picture of the same size for each",
        )
    sizes = {tuple(v.shape) for v in (labels, found) if v is not None} | {(len(drawn), *drawn.shape[-2:])}
    need(len(sizes) == 1, "label maps and pictures are of different sizes or numbers: give one map for each")
    need(
        truth is not None or found is not None,
        "nothing says what the drawn pictures show: give truth, the real pictures of these label maps, or "
        "found, the label maps that a segmenter of yours found in the drawn ones",
    )
    classes = int(labels[labels != IGNORED].max()) + 1 if bool((labels != IGNORED).any()) else 0
    need(classes > 0, "no pixel of the label maps has a class: give maps with 0, 1, 2, ...")
    scores: dict[str, float] = {}
    if found is not None:
        seen = max(classes, int(found.max()) + 1)
        scores["miou"] = mean_iou(found, labels, seen, IGNORED)
    if truth is None:
        return scores
    need(len(drawn) >= 4, "the judges learn from half of the real pictures each: give four or more")
    halves = [torch.arange(k, len(drawn), 2) for k in (0, 1)]
    own, real, distances, variety = labels.clone(), labels.clone(), list[float](), list[Tensor]()
    for k, rows in enumerate(halves):
        other = halves[1 - k]
        judge = train_segmenter(truth[other], labels[other], classes, k)
        own[rows], real[rows] = segment(judge, drawn[rows]), segment(judge, truth[rows])
        distances.append(frechet_distance(pooled(judge, drawn[rows]), pooled(judge, truth[rows])))
        if again is not None:
            variety.append(appearance_distance(judge, drawn[rows], again[rows]))
    scores.setdefault("miou", mean_iou(own, labels, classes, IGNORED))
    scores |= {"miou_real": mean_iou(real, labels, classes, IGNORED)}
    scores |= {"frechet": sum(distances) / len(distances)}
    return scores | ({"variety": float(torch.cat(variety).mean())} if variety else {})
