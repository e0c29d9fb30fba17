"""How pixel classifiers learn: all members at once, from the labelled pixels of a few pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.errors import need
from headwater.methods.segmentation.ddpm_segmentation.pixel_classifier import PixelEnsemble
from headwater.methods.segmentation.ddpm_segmentation.pixel_features import PixelFeatures
from headwater.noise import derive
from headwater.sampling import Run


class Learns(Protocol):
    """The settings of a method that say how its pixel classifiers learn."""

    @property
    def ensemble(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    @property
    def pixels(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def patience(self) -> int: ...
    @property
    def smallest(self) -> int: ...
    @property
    def ignore(self) -> int: ...


def fit_pixels(how: Learns, maps: Sequence[Tensor], labels: Tensor, run: Run) -> PixelEnsemble:
    """Train all classifiers at once: Adam, cross-entropy, each its own order of the pixels.

    maps: any features (N, C, h, w); labels: int64 (N, H, W).
    A classifier stops when, from its fifth epoch on, `patience` + 1 minibatches in a row set no new lowest
    loss, the reference's rule. Classifier k depends on (run.seed, k) alone.
    Raises UserError where nothing is left to learn from.
    """
    need(min(how.ensemble, how.epochs) >= 1, "ensemble and epochs are 1 or more")
    need(how.pixels >= 2, f"pixels is {how.pixels}: batch norm needs 2 or more")
    labels, members = labels.to(maps[0].device), how.ensemble
    used = usable(labels, how.ignore, how.smallest)
    need(int(used.sum()) > 1, "no labelled pixel is left to learn from: lower smallest or check ignore")
    need(int(labels[used].min()) >= 0, "labels are negative: number the classes from 0")
    classes = int(labels[labels != how.ignore].max()) + 1
    features = PixelFeatures(maps, (labels.shape[-2], labels.shape[-1]))
    pool, truth = used.flatten().nonzero()[:, 0], labels.flatten()
    generators = [torch.Generator().manual_seed(derive(run.seed, _MEMBER, k)) for k in range(members)]
    ensemble = PixelEnsemble(members, features.dim, classes)
    ensemble.draw(generators)
    ensemble.to(maps[0].device, features.dtype)
    best = {k: v.clone() for k, v in ensemble.state_dict().items()}
    optimiser = torch.optim.Adam(ensemble.parameters(), how.lr, fused=True)
    lowest = torch.full((members,), torch.inf)
    stale, live = torch.zeros(members, dtype=torch.long), torch.ones(members, dtype=torch.bool)
    batch = min(how.pixels, len(pool))
    per_epoch = len(pool) // batch
    shuffled = torch.empty(members, 0, dtype=torch.long)
    for step in run.track(range(how.epochs * per_epoch), "pixel classifiers"):
        at = step % per_epoch
        if at == 0:
            shuffled = torch.stack([torch.randperm(len(pool), generator=g) for g in generators])
        pixel = pool[shuffled[:, at * batch : (at + 1) * batch].to(pool.device)]
        answer = ensemble(features(pixel)).flatten(0, 1)
        loss = F.cross_entropy(answer, truth[pixel].flatten(), reduction="none").view(members, batch).mean(1)
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.step()
        if step < _SETTLED * per_epoch:
            continue
        now = loss.detach().cpu()
        stale = torch.where(now < lowest, 0, stale + 1)
        lowest = torch.minimum(now, lowest)
        _keep(best, ensemble, live & (stale > how.patience))
        live &= stale <= how.patience
        if not live.any():
            break
    _keep(best, ensemble, live)
    ensemble.load_state_dict(best)
    return ensemble.eval()


def usable(labels: Tensor, ignore: int, smallest: int) -> Tensor:
    """Pixels to learn from, bool (N, H, W): not `ignore`, nor of a class with few pixels in that picture.

    A class with fewer than `smallest` pixels in a picture is taken for a slip of the annotator there. The
    labels themselves are left as they are.
    """
    used = labels != ignore
    for row, keep in zip(labels, used, strict=True):
        found, counts = row.unique(return_counts=True)
        keep &= ~torch.isin(row, found[counts < smallest])
    return used


def _keep(best: dict[str, Tensor], ensemble: PixelEnsemble, which: Tensor) -> None:
    """Copy the state of the given members; every array is ordered by member."""
    if not which.any():
        return
    index = which.nonzero()[:, 0]
    for name, value in ensemble.state_dict().items():
        if value.ndim:
            rows = value.view(ensemble.members, -1)[index.to(value.device)]
            best[name].view(ensemble.members, -1)[index.to(value.device)] = rows


_MEMBER = 0x4D454D42
_SETTLED = 4
