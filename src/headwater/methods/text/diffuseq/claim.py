"""Does partial noising learn to rewrite verses, does choosing among ten samples pay, and does rounding each
estimate leave fewer words in doubt? (Gong et al. 2023, sec. 4; Li et al. 2022, sec. 4.2)

Verses of the King James version are rewritten as those of the World English Bible, whole books held out.
Required, beyond chance over verses (averaged over seeds): BLEU of the chosen candidate above that of the
copied source; above that of one sample; and with rounding, a smaller share of words in doubt. `held` needs
all three, `partly` one. A network of the same size that reads from left to right, trained for as many steps
on the same pairs, stands beside it and takes no part in the verdict.

DiffuSeq is the network that ships; where none does, one is trained here per seed. The network that reads from
left to right does not ship and is trained here, in half an hour of one core; a quick run leaves it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headwater.experiments.base import Outcome, Task
from headwater.experiments.comparison import Comparison, compare, verdict
from headwater.gallery import names
from headwater.methods.text.diffuseq.claim_arms import SHIPPED, Networks, Scores, Verses, score
from headwater.methods.text.diffuseq.method import DiffuSeq
from headwater.metrics.statistics import summarize
from headwater.metrics.text import consensus, corpus_bleu, diversity, self_bleu, sentence_bleu
from headwater.report import Estimate
from headwater.training import TrainerConfig

COUNTS = (1, 2, 5, 10)
"""Numbers of candidates on the curve."""


@dataclass(frozen=True)
class Setting:
    """How much is computed: verses that are rewritten, and how."""

    verses: int
    method: DiffuSeq
    trainings: int
    """Seeds that train anew where nothing ships; later seeds draw other samples only."""
    baseline: bool = True
    """Whether the network that reads from left to right is trained too."""


def small(train: int, steps: int) -> DiffuSeq:
    """The network of recipes/small.yaml, trained and used for so many steps."""
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
        training=TrainerConfig(
            train,
            32,
            lr=1e-3,
            warmup=min(500, train // 20),
            decay="linear",
            grad_clip=1.0,
            ema=0.999,
            precision="bf16",
        ),
    )


QUICK = Setting(24, small(50, 20), 1, baseline=False)
FULL = Setting(96, small(24_000, 50), 1)


def reproduce(task: Task) -> Outcome:
    """Rewrite held-out verses in every way and compare."""
    setting = QUICK if task.effort == "quick" else FULL
    train, verses = Verses.of("train"), Verses.of("test").some(setting.verses, 0)
    scores: list[Scores] = []
    networks: Networks | None = None
    for i, seed in enumerate(task.seeds):
        run = task.run(seed, batch=64)
        # What ships is the same for every seed: the seeds are then those of the samples alone.
        if networks is None or (SHIPPED not in names("fitted") and i < setting.trainings):
            networks = Networks.of(setting.method, train, setting.baseline, run)
        scores.append(score(setting.method, networks, verses, run))
    return _report(task, setting, verses, scores, networks.seconds if networks else {})


def _report(
    task: Task, setting: Setting, verses: Verses, scores: list[Scores], trained: Mapping[str, float]
) -> Outcome:
    def rows(name: str) -> list[list[float]]:
        return [getattr(s, name) for s in scores]

    one, chosen = rows("one"), rows("chosen")
    required = [
        compare("BLEU against the copied source", chosen, rows("copied"), "larger", "verse"),
        compare("BLEU against one sample", chosen, one, "larger", "verse"),
        compare("words in doubt against no rounding", rows("rounded"), rows("unrounded"), "smaller", "verse"),
    ]
    beside: list[Comparison] = []
    if setting.baseline:
        beside = [compare("BLEU against left to right", chosen, rows("baseline"), "larger", "verse")]
    best = f"best of {setting.method.candidates}"
    claim = DiffuSeq.paper.claim
    measured = "; ".join(str(c) for c in [*required, *beside])
    section = task.page.section(
        "Verses rewritten: DiffuSeq", "King James English to modern English, by denoising the second half."
    )
    first = scores[0]
    picks = [group[consensus(group)] for group in first.groups]
    section.table(
        ["source", *(["left to right"] if setting.baseline else []), "one sample", best, "truth"],
        [
            [verses.source[i], *first.written[i : i + 1], first.groups[i][0], picks[i], verses.target[i]]
            for i in range(min(6, len(picks)))
        ],
        caption="Held-out verses, seed 0.",
    )
    arms = {"copied source": "copied", "one sample": "one", best: "chosen"}
    if setting.baseline:
        arms["left to right"] = "baseline"
    per_arm = {label: [summarize(v).mean for v in rows(name)] for label, name in arms.items()}
    pace = {label: [s.seconds[label] for s in scores] for label in first.seconds}
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
    spent = ", ".join(f"{name} trained here in {seconds:.0f} s" for name, seconds in trained.items())
    where = "; ".join(filter(None, ["DiffuSeq ships" if "DiffuSeq" not in trained else "", spent]))
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
            "comparisons": {c.what: c.to_dict() for c in [*required, *beside]},
            "training_seconds": dict(trained),
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
