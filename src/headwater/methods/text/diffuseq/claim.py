"""Does partial noising learn to rewrite verses, does choosing among ten samples pay, and does rounding each
estimate leave fewer words in doubt? (Gong et al. 2023, sec. 4; Li et al. 2022, sec. 4.2)

Required, beyond chance over verses (averaged over seeds): BLEU of the chosen candidate above that of the
copied source; above that of one sample; and with rounding, a smaller share of words in doubt. `held` needs
all three, `partly` one. The network that reads from left to right takes no part in the verdict; it does not
ship and is trained here, in half an hour of one core, and a quick run leaves it out.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headwater.baselines.autoregressive import Autoregressive
from headwater.core import Control, Prediction
from headwater.data import load
from headwater.data.rows import Pairs
from headwater.experiments.comparison import Comparison
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.gallery import names
from headwater.methods.catalogue import entry
from headwater.methods.text.diffuseq.fitted import FittedDiffuSeq
from headwater.methods.text.diffuseq.method import DiffuSeq
from headwater.methods.text.diffuseq.rows import pack
from headwater.metrics.text import consensus, corpus_bleu, diversity, self_bleu, sentence_bleu
from headwater.report import Section
from headwater.sampling import Run
from headwater.training import TrainerConfig

SHIPPED, LONGEST = "diffuseq-verses", 14
"""Longer verses, in words split at spaces on either side, are left out."""
SMALL: DiffuSeq = entry("diffuseq").configured("small")
TINY = replace(
    SMALL, T=10, length=16, vocabulary=64, dim=8, hidden=16, layers=1, feedforward=16, steps=3, candidates=3,
    training=TrainerConfig(3, 4, lr=1e-3),
)  # fmt: skip
COUNTS = (1, 2, 5, 10)
"""Numbers of candidates on the curve."""
BLEU, UNCERTAIN, SECONDS = "BLEU", "words in doubt", "seconds a sentence"
CHOSEN = "BLEU of the choice among n"
COPIED, ONE, BEST, BASELINE = "copied source", "one sample", "best of all", "left to right"


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    verses: int
    """Verses that are rewritten."""
    method: DiffuSeq
    baseline: bool = False
    """Whether the network that reads from left to right is trained too."""
    shipped: bool = True
    """Whether the network that ships is taken; one that is trained here is the same for all seeds."""


def verses(split: str) -> Pairs:
    """King James and World English verses of a split, at most LONGEST words a side."""
    return load("verses", split).within(LONGEST)


def left_to_right(method: DiffuSeq, fitted: FittedDiffuSeq, train: Pairs, run: Run) -> Autoregressive:
    """The baseline: the same layers and words, trained for as many updates on the same verses."""
    config, tokenizer = fitted.network.config, fitted.config.tokenizer
    return Autoregressive.fit(train.source, train.target, tokenizer, config, method.training, **run)


class LastEstimate(Control):
    """Remembers the last estimate of z_0 as the network gave it."""

    def __init__(self) -> None:
        self.x0: Tensor | None = None

    def denoised(self, pred: Prediction) -> Prediction:
        self.x0 = pred.x0
        return pred


def uncertain_words(method: DiffuSeq, fitted: FittedDiffuSeq, source: list[str], run: Run) -> list[float]:
    """Share of each target's words whose last estimate is in doubt: more than half as far from the nearest
    word vector as from the second nearest. Padding does not count; one sample of each source."""
    pairs = pack(fitted.config.tokenizer, source, None, fitted.length)
    shares, estimate = list[float](), LastEstimate()
    for batch, _ in method.denoised(pairs, fitted, 1, run, [estimate]):
        if estimate.x0 is None:
            raise RuntimeError("a trajectory has at least one step")
        table = fitted.codec.table
        near = torch.cdist(estimate.x0, table[None].expand(len(batch.ids), -1, -1)).topk(2, largest=False)
        words = batch.target & (near.indices[..., 0] != fitted.config.tokenizer.pad)
        doubtful = near.values[..., 0] > near.values[..., 1] / 2
        shares += ((doubtful & words).sum(1).double() / words.sum(1).clamp(min=1)).tolist()
    return shares


def bleu(texts: list[str], truth: list[str]) -> list[float]:
    """Smoothed sentence BLEU of each text."""
    return [sentence_bleu(text, ref) for text, ref in zip(texts, truth, strict=True)]


def measure(settings: Settings, trial: Trial) -> None:
    """Rewrite every verse in every way."""
    train, test, method, run = verses("train"), verses("test"), settings.method, trial.run(64)
    order = torch.randperm(len(test.source), generator=torch.Generator().manual_seed(0))
    chosen = order[: settings.verses].tolist()
    source, truth = ([side[i] for i in chosen] for side in (test.source, test.target))
    fitted = (
        FittedDiffuSeq.from_pretrained(SHIPPED)
        if settings.shipped and SHIPPED in names("fitted")
        else trial.train("diffuseq", lambda run: method.fit(train.source, train.target, **run), trainings=1)
    )
    found, clock = trial.found, time.perf_counter()
    groups = method.samples(source, fitted, method.candidates, **run)
    found.add(SECONDS, BEST, [(time.perf_counter() - clock) / len(source)])
    best = [group[consensus(group)] for group in groups]
    found.add(BLEU, COPIED, bleu(source, truth))
    each = [bleu(group, [ref] * len(group)) for group, ref in zip(groups, truth, strict=True)]
    found.add(BLEU, ONE, [sum(scores) / len(scores) for scores in each])
    found.add(BLEU, BEST, bleu(best, truth))
    columns = {"source": source, ONE: [g[0] for g in groups], BEST: best, "truth": truth}
    if settings.baseline:
        other = trial.train(
            "autoregressive", lambda run: left_to_right(method, fitted, train, run), trainings=1
        )
        clock = time.perf_counter()
        columns[BASELINE] = other.write(source, **run)[0]
        found.add(SECONDS, BASELINE, [(time.perf_counter() - clock) / len(source)])
        found.add(BLEU, BASELINE, bleu(columns[BASELINE], truth))
    clock = time.perf_counter()
    found.add(UNCERTAIN, "rounded", uncertain_words(replace(method, rounding="nearest"), fitted, source, run))
    found.add(SECONDS, ONE, [(time.perf_counter() - clock) / len(source)])
    found.add(
        UNCERTAIN, "not rounded", uncertain_words(replace(method, rounding="none"), fitted, source, run)
    )
    for n in (n for n in COUNTS if n <= method.candidates):
        few = [g[:n][consensus(g[:n])] for g in groups]
        found.add(CHOSEN, "diffusion", bleu(few, truth), f"{n}")
    found.samples |= {
        "groups": groups,
        "corpus_bleu": corpus_bleu(best, truth),
        "corpus_bleu_copied": corpus_bleu(source, truth),
    }
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    trial.section.table(list(columns), rows[:6], caption="Held-out verses, first seed.")


def rule(results: Results[Settings]) -> list[Comparison]:
    """Three comparisons decide; the baseline is reported."""
    base = [BASELINE] if results.settings.baseline else []
    return [
        results.compare("BLEU against the copied source", (BLEU, BEST), (BLEU, COPIED)),
        results.compare("BLEU against one sample", (BLEU, BEST), (BLEU, ONE)),
        results.compare(
            "words in doubt against no rounding", (UNCERTAIN, "rounded"), (UNCERTAIN, "not rounded")
        ),
        *results.against(BLEU, BEST, *base, required=False),
    ]


def extra(results: Results[Settings]) -> dict[str, float]:
    """Of all candidates of a verse, and of all verses of the first seed."""
    groups = [group for part in results.collect("groups") for group in part]
    corpus = {name: results.first[name] for name in ("corpus_bleu", "corpus_bleu_copied")}
    return {"self_bleu": self_bleu(groups), "div_4": diversity(groups), **corpus}


def show(section: Section, results: Results[Settings]) -> None:
    """What is found of all candidates."""
    section.table(
        ["measure", "value"],
        [[name.replace("_", " "), value] for name, value in extra(results).items()],
        caption="self-BLEU and div-4: among the candidates of a verse. Corpus BLEU: first seed.",
    )


CLAIM = Claim(
    "diffuseq",
    "Verses rewritten: DiffuSeq",
    "King James English to modern English, by denoising the second half.",
    unit="verse",
    tiny=Settings(4, TINY, baseline=True, shipped=False),
    quick=Settings(24, replace(SMALL, steps=20, training=replace(SMALL.training, steps=50, warmup=2))),
    full=Settings(96, SMALL, baseline=True),
    measures={
        BLEU: Measure("larger", "Mean of smoothed sentence BLEU over verses."),
        UNCERTAIN: Measure(
            "smaller",
            "In doubt: the last estimate is more than half as far from the nearest word vector as from the "
            "second.",
        ),
        SECONDS: Measure("smaller", "Times are of whole batches."),
        CHOSEN: Measure(
            None,
            "The candidate that agrees best with the others is chosen; no reference is looked at.",
            tabled=False,
            axis="candidates",
        ),
    },
    measure=measure,
    rule=rule,
    show=show,
    extra=extra,
)
