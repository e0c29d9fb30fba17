"""Does partial noising learn to rewrite verses, does choosing among ten samples pay, and does rounding each
estimate leave fewer words in doubt? (Gong et al. 2023, sec. 4; Li et al. 2022, sec. 4.2)

Verses of the King James version are rewritten as those of the World English Bible, whole books held out.
Required, beyond chance over verses (averaged over seeds): BLEU of the chosen candidate above that of the
copied source; above that of one sample; and with rounding, a smaller share of words in doubt. `held` needs
all three, `partly` one. A network of the same size that reads from left to right, trained for as many steps
on the same pairs, stands beside it and takes no part in the verdict.

The networks are those that ship; where none do, they are trained here, one pair per seed.
"""

from __future__ import annotations

from dataclasses import dataclass

from headwater.claims.base import Outcome, Task
from headwater.claims.comparison import compare, verdict
from headwater.claims.diffuseq_arms import Networks, Scores, Verses, score
from headwater.methods.text.diffuseq import DiffuSeq
from headwater.metrics.statistics import summarize
from headwater.metrics.text import consensus, corpus_bleu, diversity, self_bleu, sentence_bleu
from headwater.report import Estimate
from headwater.run import Run
from headwater.train.optimisation import Optimisation

COUNTS = (1, 2, 5, 10)
"""Numbers of candidates on the curve."""


@dataclass(frozen=True)
class Setting:
    """How much is computed: verses that are rewritten, and how."""

    verses: int
    method: DiffuSeq
    trainings: int
    """Seeds that train anew where nothing ships; later seeds draw other samples only."""


def small(train: int, steps: int) -> DiffuSeq:
    """The network of recipes/diffuseq/small.yaml, trained and used for so many steps."""
    return DiffuSeq(
        T=200,
        length=48,
        tokenizer="bpe",
        vocabulary=2000,
        dim=32,
        hidden=128,
        layers=4,
        heads=4,
        feedforward=512,
        steps=steps,
        training=Optimisation(
            train, 32, lr=1e-3, warmup=train // 20, decay="linear", grad_clip=1.0, ema=0.999, precision="bf16"
        ),
    )


QUICK = Setting(24, small(50, 20), 1)
FULL = Setting(96, small(800, 50), 3)


def reproduce(task: Task) -> Outcome:
    """Rewrite held-out verses in every way and compare."""
    setting = QUICK if task.effort == "quick" else FULL
    train, verses = Verses.of("train"), Verses.of("test").some(setting.verses, 0)
    scores: list[Scores] = []
    networks: Networks | None = None
    for i, seed in enumerate(task.seeds):
        run = Run(seed, batch=64, progress=task.progress)
        # Those that ship are the same for every seed: the seeds are then those of the samples alone.
        if networks is None or (networks.seconds is not None and i < setting.trainings):
            networks = Networks.of(setting.method, train, run)
        scores.append(score(setting.method, networks, verses, run))
    trained = [] if networks is None or networks.seconds is None else list(networks.seconds)
    return _report(task, setting, verses, scores, trained)


def _report(
    task: Task, setting: Setting, verses: Verses, scores: list[Scores], trained: list[float]
) -> Outcome:
    def rows(name: str) -> list[list[float]]:
        return [getattr(s, name) for s in scores]

    one, chosen = rows("one"), rows("chosen")
    required = [
        compare("BLEU against the copied source", chosen, rows("copied"), "larger", "verse"),
        compare("BLEU against one sample", chosen, one, "larger", "verse"),
        compare("words in doubt against no rounding", rows("rounded"), rows("unrounded"), "smaller", "verse"),
    ]
    beside = compare("BLEU against left to right", chosen, rows("baseline"), "larger", "verse")
    best = f"best of {setting.method.candidates}"
    claim = DiffuSeq.paper.claim
    measured = "; ".join(str(c) for c in [*required, beside])
    section = task.page.section(
        "Verses rewritten: DiffuSeq", "King James English to modern English, by denoising the second half."
    )
    first = scores[0]
    picks = [group[consensus(group)] for group in first.groups]
    section.table(
        ["source", "left to right", "one sample", best, "truth"],
        [
            [verses.source[i], first.written[i], first.groups[i][0], picks[i], verses.target[i]]
            for i in range(min(6, len(picks)))
        ],
        caption="Held-out verses, seed 0.",
    )
    arms = {"copied source": "copied", "left to right": "baseline", "one sample": "one", best: "chosen"}
    per_arm = {label: [summarize(v).mean for v in rows(name)] for label, name in arms.items()}
    pace = {label: [s.seconds[label] for s in scores] for label in ("one sample", best)}
    pace["left to right"] = [s.seconds["autoregressive"] for s in scores]
    section.table(
        ["arm", "BLEU", "seconds a sentence"],
        [[n, _over_seeds(v), _over_seeds(pace[n]) if n in pace else "0"] for n, v in per_arm.items()],
        caption="Mean of smoothed sentence BLEU over verses; ± over seeds. Times are of whole batches.",
        best={"BLEU": "max"},
    )
    curve = {n: _chosen_of(n, scores, verses) for n in COUNTS if n <= setting.method.candidates}
    section.curve(
        {"diffusion": (list(curve), list(curve.values()))},
        x="candidates",
        y="BLEU",
        caption="The candidate that agrees best with the others is chosen; no reference is looked at.",
    )
    doubts = {k: [summarize(v).mean for v in rows(k)] for k in ("rounded", "unrounded")}
    groups = [group for s in scores for group in s.groups]
    extra = {
        "self_bleu": self_bleu(groups),
        "div_4": diversity(groups),
        "corpus_bleu": corpus_bleu(picks, verses.target),
        "corpus_bleu_copied": corpus_bleu(verses.source, verses.target),
    }
    section.table(
        ["measure", "value"],
        [
            ["words in doubt, estimates rounded", _over_seeds(doubts["rounded"])],
            ["words in doubt, not rounded", _over_seeds(doubts["unrounded"])],
            *[[k.replace("_", " "), v] for k, v in extra.items()],
        ],
        caption="In doubt: the last estimate is more than half as far from the nearest word vector as from "
        "the second. self-BLEU and div-4: among the candidates of a verse. Corpus BLEU: seed 0.",
    )
    where = f"trained here, {trained[0]:.0f} s and {trained[1]:.0f} s" if trained else "shipped"
    section.settings(
        {
            "networks": where,
            "levels visited": setting.method.steps,
            "verses": len(verses.source),
            "seeds": list(task.seeds),
        }
    )
    ruling = verdict(required)
    section.claim(claim, measured, ruling)
    return Outcome(
        "diffuseq",
        claim,
        measured,
        ruling,
        {
            "bleu": per_arm,
            "bleu_of_candidates": {str(n): v for n, v in curve.items()},
            "seconds_per_sentence": pace,
            "words_in_doubt": doubts,
            "comparisons": {c.what: c.to_dict() for c in [*required, beside]},
            "training_seconds": trained,
            **extra,
        },
        {"effort": task.effort, "seeds": list(task.seeds), "networks": where},
    )


def _chosen_of(n: int, scores: list[Scores], verses: Verses) -> float:
    """Mean BLEU of the choice among the first n candidates."""
    found = [
        sentence_bleu(group[:n][consensus(group[:n])], ref)
        for s in scores
        for group, ref in zip(s.groups, verses.target, strict=True)
    ]
    return summarize(found).mean


def _over_seeds(values: list[float]) -> Estimate:
    found = summarize(values)
    return Estimate(found.mean, found.sd)
