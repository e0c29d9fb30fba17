"""The arms of DiffuSeq's claim: verses, networks, and what is measured of each verse."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from headwater.baselines.autoregressive import Autoregressive
from headwater.core import Control, Prediction
from headwater.data import load
from headwater.experiments.base import training_seconds
from headwater.gallery import names
from headwater.methods.text.diffuseq.fitted import FittedDiffuSeq
from headwater.methods.text.diffuseq.method import DiffuSeq
from headwater.methods.text.diffuseq.sequence_pairs import pack
from headwater.metrics.text import consensus, sentence_bleu
from headwater.sampling import Run

SHIPPED = "diffuseq-verses"
LONGEST = 14
"""Words split at spaces on either side: longer verses are left out."""


@dataclass(frozen=True)
class Verses:
    """Pairs of one split, at most LONGEST words a side."""

    source: list[str]
    target: list[str]

    @classmethod
    def of(cls, split: str) -> Verses:
        """King James and World English verses of a split."""
        found = load("verses", split).within(LONGEST)
        return cls(found.source, found.target)

    def some(self, n: int, seed: int) -> Verses:
        """n of them at random."""
        order = torch.randperm(len(self.source), generator=torch.Generator().manual_seed(seed))[:n].tolist()
        return Verses([self.source[i] for i in order], [self.target[i] for i in order])


@dataclass(frozen=True)
class Networks:
    """Both arms, and how many seconds each was trained here, by its name."""

    diffusion: FittedDiffuSeq
    baseline: Autoregressive | None
    seconds: Mapping[str, float]

    @classmethod
    def of(cls, method: DiffuSeq, train: Verses, baseline: bool, run: Run) -> Networks:
        """The DiffuSeq that ships, or else one trained on `train` for method.training; if wanted also the
        baseline, trained for as many updates."""
        seconds: dict[str, float] = {}
        if SHIPPED in names("fitted"):
            fitted = FittedDiffuSeq.from_pretrained(SHIPPED)
        else:
            own, begun = run.child("diffuseq"), time.perf_counter()
            fitted = method.fit(train.source, train.target, **own)
            seconds["DiffuSeq"] = training_seconds(own, begun)
        if not baseline:
            return cls(fitted, None, seconds)
        begun = time.perf_counter()
        other = left_to_right(method, fitted, train, run)
        seconds["left to right"] = training_seconds(run.child("autoregressive"), begun)
        return cls(fitted, other, seconds)


def left_to_right(method: DiffuSeq, fitted: FittedDiffuSeq, train: Verses, run: Run) -> Autoregressive:
    """The baseline: the same layers and words, trained for as many updates on the same verses."""
    return Autoregressive.fit(
        train.source,
        train.target,
        fitted.config.tokenizer,
        fitted.network.config,
        method.training,
        **run.child("autoregressive"),
    )


class Watch(Control):
    """Remembers the last estimate of z_0 as the network gave it."""

    def __init__(self) -> None:
        self.seen: Tensor | None = None

    def denoised(self, pred: Prediction) -> Prediction:
        self.seen = pred.x0
        return pred


def doubt(method: DiffuSeq, fitted: FittedDiffuSeq, source: list[str], run: Run) -> list[float]:
    """Share of each target's words whose last estimate is in doubt: more than half as far from the nearest
    word vector as from the second nearest. Padding does not count; one sample of each source."""
    pairs = pack(fitted.config.tokenizer, source, None, fitted.length)
    shares: list[float] = []
    watch = Watch()
    for batch, _ in method.denoised(pairs, fitted, 1, run, [watch]):
        if watch.seen is None:
            raise RuntimeError("a walk has at least one step")
        table = fitted.codec.table
        near = torch.cdist(watch.seen, table[None].expand(len(watch.seen), -1, -1)).topk(2, largest=False)
        words = batch.target & (near.indices[..., 0] != fitted.config.tokenizer.pad)
        doubtful = near.values[..., 0] > near.values[..., 1] / 2
        counted = words.sum(1).clamp(min=1)
        shares += ((doubtful & words).sum(1).double() / counted).tolist()
    return shares


@dataclass(frozen=True)
class Scores:
    """Of one seed, per verse: BLEU of each arm, share in doubt with and without rounding."""

    copied: list[float]
    one: list[float]
    chosen: list[float]
    baseline: list[float]
    """Empty without one."""
    rounded: list[float]
    unrounded: list[float]
    groups: list[list[str]]
    written: list[str]
    seconds: dict[str, float]
    """Per sentence."""


def score(method: DiffuSeq, networks: Networks, verses: Verses, run: Run) -> Scores:
    """Write every verse in every way."""
    fitted, truth, n = networks.diffusion, verses.target, len(verses.source)
    clock = [time.monotonic()]
    groups = method.samples(verses.source, fitted, method.candidates, **run)
    clock.append(time.monotonic())
    written = networks.baseline.write(verses.source, **run)[0] if networks.baseline else []
    clock.append(time.monotonic())
    rounded = doubt(replace(method, rounding="nearest"), fitted, verses.source, run)
    clock.append(time.monotonic())
    unrounded = doubt(replace(method, rounding="none"), fitted, verses.source, run)
    chosen = [group[consensus(group)] for group in groups]
    one = [
        sum(sentence_bleu(text, ref) for text in group) / len(group)
        for group, ref in zip(groups, truth, strict=True)
    ]
    ten, ar, single = (b - a for a, b in pairwise(clock))
    seconds = {f"best of {method.candidates}": ten / n, "one sample": single / n}
    if networks.baseline:
        seconds["left to right"] = ar / n
    return Scores(
        _bleu(verses.source, truth),
        one,
        _bleu(chosen, truth),
        _bleu(written, truth) if written else [],
        rounded,
        unrounded,
        groups,
        written,
        seconds,
    )


def _bleu(texts: list[str], truth: list[str]) -> list[float]:
    return [sentence_bleu(text, ref) for text, ref in zip(texts, truth, strict=True)]
