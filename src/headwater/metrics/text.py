"""How good generated sentences are, and how different from each other. All scores lie in [0, 1].

References are one text per hypothesis, or a list of texts each, of which the best match counts.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from headwater.errors import UserError, need

References = Sequence[str] | Sequence[Sequence[str]]

_ORDERS = 4
"""BLEU looks at runs of 1 to 4 words."""
_K = 5
"""The constant of smoothing method 4 (Chen & Cherry 2014)."""
_WORD = re.compile(r"\w+(?:['’]\w+)?")


def corpus_bleu(hypotheses: Sequence[str], references: References, order: int = 4) -> float:
    """BLEU over the whole corpus (Papineni et al. 2002), as sacrebleu computes it (13a words, case kept).

    order: the longest runs of words that count, 4 as usual. Texts of fewer words have no such runs, so that
    even exact ones score 0: BLEU-1 and BLEU-2 are the usual measures of short captions.
    Raises UserError when the numbers of texts differ, there is none, or sacrebleu is not installed.
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise UserError("BLEU needs sacrebleu: pip install 'headwater[text]'") from None
    sets = _sets(hypotheses, references)
    most = max(len(refs) for refs in sets)
    # None: that sentence has fewer references. sacrebleu takes it, its annotations do not say so.
    streams: list[Any] = [[refs[i] if i < len(refs) else None for refs in sets] for i in range(most)]
    return BLEU(max_ngram_order=order).corpus_score(list(hypotheses), streams).score / 100


def sentence_bleu(hypothesis: str, references: str | Sequence[str]) -> float:
    """BLEU-4 of one sentence, words split at spaces, smoothing method 4 (Chen & Cherry 2014, sec. 3.4).

    The k-th order without a match, k = 1, 2, .., counts ln(words) / (2^k 5) matches: short hypotheses get
    less for nothing. 0 if no word matches at all. sacrebleu lacks this method; the tables of DiffuSeq use it.
    """
    words = hypothesis.split()
    refs = [text.split() for text in _listed(references)]
    score, missed = 0.0, 0
    for n in range(1, _ORDERS + 1):
        grams = Counter(_grams(words, n))
        allowed: Counter[tuple[str, ...]] = Counter()
        for ref in refs:
            allowed |= Counter(_grams(ref, n))
        hits = float((grams & allowed).total())
        if hits == 0:
            if n == 1:
                return 0.0
            missed += 1
            if len(words) < 2:
                return 0.0
            hits = math.log(len(words)) / (2**missed * _K)
        score += math.log(hits / max(1, grams.total())) / _ORDERS
    closest = min((len(ref) for ref in refs), key=lambda n: (abs(n - len(words)), n))
    brevity = min(0.0, 1 - closest / len(words))
    return math.exp(score + brevity)


def mean_sentence_bleu(hypotheses: Sequence[str], references: References) -> float:
    """Mean `sentence_bleu`: the BLEU of the DiffuSeq tables."""
    return _mean(sentence_bleu, hypotheses, references)


def cider(hypotheses: Sequence[str], references: References) -> float:
    """CIDEr (Vedantam et al. 2015, eq. 1 to 3), 0 to 10: likeness of runs of 1 to 4 words, rare ones weighing
    more than those of many items.

    The weight of a run is its count times ln(items / items whose references have it); an order is the mean
    cosine of these weights with those of each reference. Orders that neither text is long enough for are
    left out of the mean, which the paper's captions do not need: an exact caption of two words scores 10.
    Case and punctuation are ignored; words are not stemmed. 0 where all items share all runs, or only one.
    """
    sets = _sets(hypotheses, references)
    seen: Counter[tuple[str, ...]] = Counter()
    for refs in sets:
        seen.update(
            {gram for text in refs for n in range(1, _ORDERS + 1) for gram in _grams(_words(text), n)}
        )

    def weights(text: str, n: int) -> dict[tuple[str, ...], float]:
        counts = Counter(_grams(_words(text), n))
        return {g: count * math.log(len(sets) / max(1, seen[g])) for g, count in counts.items()}

    def cosine(a: dict[tuple[str, ...], float], b: dict[tuple[str, ...], float]) -> float:
        size = math.hypot(*a.values()) * math.hypot(*b.values())
        return sum(v * b.get(g, 0.0) for g, v in a.items()) / size if size else 0.0

    def score(text: str, refs: Sequence[str]) -> float:
        longest = max(len(_words(t)) for t in (text, *refs))
        orders = range(1, min(_ORDERS, max(1, longest)) + 1)
        likeness = [cosine(weights(text, n), weights(ref, n)) for n in orders for ref in refs]
        return 10 * sum(likeness) / len(likeness)

    return _mean(score, hypotheses, sets)


def word_f1(hypotheses: Sequence[str], references: References) -> float:
    """Mean F1 of the bags of words, case and punctuation ignored."""
    return _mean(sentence_f1, hypotheses, references)


def sentence_f1(hypothesis: str, references: str | Sequence[str]) -> float:
    """2 |common words| / (|words| + |words of the reference|), the best over references."""
    ours = Counter(_words(hypothesis))
    scores = []
    for text in _listed(references):
        truth = Counter(_words(text))
        total = ours.total() + truth.total()
        scores.append(2 * (ours & truth).total() / total if total else 1.0)
    return max(scores)


def exact_match(hypotheses: Sequence[str], references: References) -> float:
    """Share of hypotheses that equal a reference, runs of spaces and outer spaces ignored."""

    def same(hypothesis: str, refs: str | Sequence[str]) -> float:
        return float(hypothesis.split() in [text.split() for text in _listed(refs)])

    return _mean(same, hypotheses, references)


def distinct(texts: Sequence[str], n: int = 1) -> float:
    """Different runs of n words over all of them inside each text, mean over texts that have any."""
    need(len(texts) > 0, "there are no texts to score")
    shares = [len(set(grams)) / len(grams) for text in texts if (grams := _grams(text.split(), n))]
    return sum(shares) / len(shares) if shares else 0.0


def diversity(samples: Sequence[Sequence[str]], n: int = 4) -> float:
    """div-n: different runs of n words over all of them, in the samples of one source; mean over sources."""
    need(len(samples) > 0, "there are no samples to score")
    shares = []
    for texts in samples:
        grams = [gram for text in texts for gram in _grams(text.split(), n)]
        shares.append(len(set(grams)) / len(grams) if grams else 0.0)
    return sum(shares) / len(shares)


def self_bleu(samples: Sequence[Sequence[str]]) -> float:
    """Mean `sentence_bleu` of each sample against the other samples of its source; low is diverse."""
    need(len(samples) > 0, "there are no samples to score")
    need(min(map(len, samples)) >= 2, "self-BLEU compares at least two samples of each source")
    scores = []
    for texts in samples:
        others = [[t for j, t in enumerate(texts) if j != i] for i in range(len(texts))]
        scores += [sentence_bleu(text, rest) for text, rest in zip(texts, others, strict=True)]
    return sum(scores) / len(scores)


def consensus(candidates: Sequence[str]) -> int:
    """Which of several answers agrees best with the others: minimum Bayes risk under `sentence_bleu`.

    The first of equals (Kumar & Byrne 2004). It looks at no reference.
    """
    need(len(candidates) > 0, "there are no candidates to choose from")
    agreement = [
        sum(sentence_bleu(text, other) for j, other in enumerate(candidates) if j != i)
        for i, text in enumerate(candidates)
    ]
    return agreement.index(max(agreement))


def _listed(references: str | Sequence[str]) -> list[str]:
    return [references] if isinstance(references, str) else list(references)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _grams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _sets(hypotheses: Sequence[str], references: References) -> list[list[str]]:
    need(len(hypotheses) > 0, "there are no texts to score")
    same = len(hypotheses) == len(references)
    need(same, f"there are {len(hypotheses)} texts and {len(references)} references: give one for each")
    sets = [_listed(refs) for refs in references]
    need(all(sets), "every text needs at least one reference")
    return sets


def _mean(
    score: Callable[[str, Sequence[str]], float], hypotheses: Sequence[str], references: References
) -> float:
    pairs = zip(hypotheses, _sets(hypotheses, references), strict=True)
    return sum(score(text, refs) for text, refs in pairs) / len(hypotheses)
