"""A small image-text dual encoder trained in the run: judges captions and pictures drawn from text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.errors import need
from headwater.metrics.classifier import jitter
from headwater.progress import track

_MAX_SCALE = 100.0
"""Largest inverse temperature (Radford et al. 2021, sec. 2.5)."""


def words(text: str) -> list[str]:
    """Lower-case words of a text; punctuation only separates."""
    return re.findall(r"\w+", unicodedata.normalize("NFC", text).lower())


class DualEncoder(nn.Module):
    """Pictures and texts as unit vectors of one space, near where they belong together (Radford et al. 2021).

    The image tower is three strided convolutions and a linear layer; the text tower the mean of word
    vectors and a residual hidden layer, so word order does not count. Words that were not trained on
    count as one unknown word.
    """

    def __init__(self, channels: int, side: int, vocabulary: Sequence[str], width: int = 32, dim: int = 64):
        super().__init__()
        self.vocabulary = {word: i + 1 for i, word in enumerate(vocabulary)}
        sizes = [channels, width, 2 * width, 4 * width]
        layers: list[nn.Module] = []
        for inward, outward in pairwise(sizes):
            layers += [nn.Conv2d(inward, outward, 4, 2, 1, bias=False), nn.BatchNorm2d(outward), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2))
        self.head = nn.Linear(4 * width * (side // 8) ** 2, dim)
        self.channels, self.side = channels, side
        self.embedding = nn.EmbeddingBag(len(vocabulary) + 1, dim, mode="mean")
        self.hidden = nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    def known(self, text: str) -> bool:
        """Whether every word of the text was trained on."""
        found = words(text)
        return bool(found) and all(word in self.vocabulary for word in found)

    def knows(self, text: str) -> bool:
        """Whether any word of the text was trained on."""
        return any(word in self.vocabulary for word in words(text))

    def unknown(self, text: str) -> list[str]:
        """The words of the text that it was not trained on."""
        return [word for word in words(text) if word not in self.vocabulary]

    def image(self, images: Tensor) -> Tensor:
        """Unit vectors (B, D) of pictures (B, C, side, side) in [-1, 1]."""
        if images.ndim != 4 or images.shape[-2:] != (self.side, self.side):
            raise ValueError(f"Give pictures (B, C, {self.side}, {self.side}), not {tuple(images.shape)}.")
        return F.normalize(self.head(self.body(images)), dim=1)

    def text(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (B, D) of texts; a text without words counts as one unknown word."""
        ids = [[self.vocabulary.get(word, 0) for word in words(t)] or [0] for t in texts]
        offsets = torch.tensor([0, *map(len, ids)])[:-1].cumsum(0)
        device = self.log_scale.device
        flat = torch.tensor([i for row in ids for i in row], device=device)
        bag = self.embedding(flat, offsets.to(device))
        return F.normalize(bag + self.hidden(bag), dim=1)

    def scale(self) -> Tensor:
        """Inverse temperature of the softmax over similarities."""
        return self.log_scale.exp().clamp(max=_MAX_SCALE)


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of a `DualEncoder`."""

    vocabulary: tuple[str, ...]
    side: int
    width: int

    def __post_init__(self) -> None:
        need(8 <= self.side <= 512 and 1 <= self.width <= 512, "sides are 8 to 512, the width is 1 to 512")

    @classmethod
    def of(cls, encoder: DualEncoder) -> EncoderConfig:
        """Those of an encoder."""
        return cls(tuple(encoder.vocabulary), encoder.side, encoder.body[0].out_channels)  # pyright: ignore[reportArgumentType]


def train_dual_encoder(
    images: Tensor,
    texts: Sequence[str],
    seed: int,
    steps: int = 600,
    batch: int = 128,
    width: int = 32,
    dim: int = 64,
    lr: float = 3e-3,
    progress: bool = False,
    radius: float = 0.0,
    text_tower: DualEncoder | None = None,
) -> DualEncoder:
    """A `DualEncoder` trained by a symmetric contrastive loss on images (N,C,S,S) in [-1, 1] and their texts.

    Pictures that share a text are all right answers to it. Small turns, shifts and zooms stand in for
    more data. About 25 s on one core for 600 steps at 32x32. A pure function of its arguments: the global
    random state is left as it was. Returned in eval mode, gradients off. Raises ValueError where images
    and texts do not fit.

    radius: learn from pictures that were moved so far (Euclidean, in [-1, 1]) to where the loss is large, by
    one step from a random place within (Wong et al. 2020); more than twice the time. Gradients of networks
    trained so look more like what they stand for (Engstrom et al. 2019).
    text_tower: an encoder whose text tower and temperature are taken and stay, so that both see pictures in
    one space.
    """
    side = images.shape[-1]
    if images.ndim != 4 or len(images) != len(texts) or len(texts) < 2:
        raise ValueError("Give images (N,C,S,S) and one text for each, at least two.")
    if images.shape[-2] != side or side % 8:
        raise ValueError(
            f"Give square pictures with a side that is a multiple of 8, not {tuple(images.shape)}."
        )
    numbers = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    same = torch.tensor([numbers[text] for text in texts], device=images.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vocabulary = list(text_tower.vocabulary) if text_tower else _vocabulary(texts)
        net = DualEncoder(images.shape[1], side, vocabulary, width, dim).to(images.device)
        if text_tower:
            net.embedding, net.hidden, net.log_scale = (
                text_tower.embedding,
                text_tower.hidden,
                text_tower.log_scale,
            )
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=1e-2)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
        net.train()
        batches = _epochs(len(images), min(batch, len(images)), steps, generator)
        for rows in track(batches, "judge", total=steps, shown=progress):
            shown, said = jitter(images[rows], generator), [texts[int(i)] for i in rows]
            if radius:
                shown = _disturbed(net, shown, said, same[rows], radius, generator)
            seen, told = net.image(shown), net.text(said)
            loss = _contrast(net.scale() * seen @ told.T, same[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            rate.step()
    return net.eval().requires_grad_(False)


def _disturbed(
    net: DualEncoder,
    images: Tensor,
    texts: Sequence[str],
    same: Tensor,
    radius: float,
    generator: torch.Generator,
) -> Tensor:
    """The pictures (B, C, S, S), each moved by up to `radius` to where the loss is large."""

    def long(change: Tensor) -> Tensor:
        return change.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)

    net.eval()
    change = torch.randn(images.shape, generator=generator)
    within = torch.rand(len(images), 1, 1, 1, generator=generator)
    change = (change / long(change) * radius * within).to(images.device)
    leaf = (images + change).requires_grad_()
    with torch.no_grad():
        told, scale = net.text(texts), net.scale()
    (uphill,) = torch.autograd.grad(_contrast(scale * net.image(leaf) @ told.T, same), leaf)
    change = change + radius * uphill / long(uphill)
    net.train()
    return images + change * (radius / long(change)).clamp(max=1)


def _vocabulary(texts: Sequence[str]) -> list[str]:
    return sorted({word for text in texts for word in words(text)})


def _epochs(n: int, batch: int, steps: int, generator: torch.Generator) -> Iterable[Tensor]:
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(order) < batch:
            order = torch.cat([order, torch.randperm(n, generator=generator)])
        yield order[:batch]
        order = order[batch:]


def _contrast(logits: Tensor, same: Tensor) -> Tensor:
    """Cross entropy both ways, (B, B) logits; entries of one `same` number share the target."""
    target = (same[:, None] == same[None, :]).float()
    target /= target.sum(1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


@dataclass(frozen=True)
class Retrieval:
    """How well pictures (B, ...) are matched with their texts.

    hit: (B,) bool, whether the own text is nearer than each of the distractors. similarity: (B,) cosine.
    """

    hit: Tensor
    similarity: Tensor

    @property
    def accuracy(self) -> float:
        return float(self.hit.double().mean())


@torch.no_grad()
def retrieve(
    encoder: DualEncoder,
    images: Tensor,
    texts: Sequence[str],
    candidates: Sequence[str],
    ways: int = 32,
    seed: int = 0,
) -> Retrieval:
    """Match each picture with its text among `ways - 1` others drawn from `candidates`; chance is 1 / ways.

    The distractors of a text depend on the seed and on the text's place alone, so sets drawn from one
    list of texts are compared on one test. Raises ValueError where there are too few candidates.
    """
    if len(images) != len(texts) or not texts:
        raise ValueError("Give one text for each picture.")
    pool = sorted(set(candidates))
    if ways < 2 or min(len(set(pool) - {text}) for text in set(texts)) < ways - 1:
        raise ValueError(f"{ways}-way retrieval needs at least {ways} different candidates.")
    vectors = torch.cat([encoder.image(part) for part in images.split(256)])
    own = encoder.text(texts)
    table = encoder.text(pool)
    similarity = (vectors * own).sum(1)
    best = torch.empty_like(similarity)
    for i, text in enumerate(texts):
        order = np.random.default_rng([seed, i]).permutation(len(pool)).tolist()
        others = [j for j in order if pool[j] != text][: ways - 1]
        best[i] = (table[others] @ vectors[i]).max()
    return Retrieval(similarity > best, similarity)


@torch.no_grad()
def diversity(encoder: DualEncoder, images: Tensor) -> float:
    """Mean cosine distance between two different pictures of (n, C, S, S): 0 where all look alike to it."""
    if len(images) < 2:
        raise ValueError("Give at least two pictures.")
    vectors = torch.cat([encoder.image(part) for part in images.split(256)])
    n = len(vectors)
    return float(1 - (vectors.sum(0).square().sum() - n) / (n * (n - 1)))


def judged(
    encoder: DualEncoder,
    images: Tensor,
    texts: Sequence[str],
    candidates: Sequence[str],
    ways: int = 32,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Judge several pictures of each text, (B, n, C, S, S) in [-1, 1], n >= 2; each answer is (B,).

    retrieval: share of the n that `retrieve` finds. similarity: mean cosine with the text. variety: mean
    distance, 1 - cosine, of two of the n. pixel spread: their standard deviation, over all pixels.
    """
    n = images.shape[1]
    repeated = [text for text in texts for _ in range(n)]
    found = retrieve(encoder, images.flatten(0, 1), repeated, candidates, ways, seed)
    vectors = encoder.image(images.flatten(0, 1)).unflatten(0, (len(texts), n))
    between = (vectors @ vectors.mT).sum((1, 2)) - n
    pixels = (images - images.mean(1, keepdim=True)).square().mean((1, 2, 3, 4)).sqrt()
    return {
        "retrieval": found.hit.double().view(-1, n).mean(1),
        "similarity": found.similarity.double().view(-1, n).mean(1),
        "variety": 1 - between.double() / (n * (n - 1)),
        "pixel spread": pixels.double(),
    }


def caption_scores(drawn: Tensor, text: Sequence[str], truth: Tensor) -> dict[str, float]:
    """Judge drawn[i] of text[i] by a dual encoder trained here on truth[i] for text[i], both (B, C, S, S).

    retrieval: `Retrieval.accuracy` among 32 of the texts, or all if there are fewer. similarity: mean cosine.
    diversity: of all drawn pictures. Raises UserError for fewer than two different texts.
    """
    pool = sorted(set(text))
    need(len(pool) > 1, "there is one caption only: retrieval needs at least two different ones")
    judge = train_dual_encoder(truth, text, seed=0, progress=True)
    found = retrieve(judge, drawn, text, pool, min(32, len(pool)))
    return {
        "retrieval": found.accuracy,
        "similarity": float(found.similarity.mean()),
        "diversity": diversity(judge, drawn),
    }
