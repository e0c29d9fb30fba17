"""Scenes of two or three emoji with captions of a small grammar: `cat above red heart beside key`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from headwater.data.shipped import Set
from headwater.metrics.text import sentence_bleu

SIDE, PART = 64, 32
"""Pixels of a scene, and of each thing in it."""
FORMS = ("above", "beside", "above beside")
"""Relations of a scene, between each thing and the next."""
NEW = range(12, 21)
"""Places, in pixels along the free side, that are kept for tests."""
Places = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Scene:
    """What stands in a scene and how, and which two of its styles are shown."""

    names: tuple[str, ...]
    form: str
    place: int
    """Of what is free to move, in pixels from the edge."""
    style: int

    @property
    def caption(self) -> str:
        """In words."""
        words = [*self.form.split(), ""]
        return " ".join(w for pair in zip(self.names, words, strict=True) for w in pair).strip()

    @property
    def corners(self) -> Places:
        """Row and column of each thing."""
        far = SIDE - PART
        return {
            "above": ((0, self.place), (far, self.place)),
            "beside": ((self.place, 0), (self.place, far)),
            "above beside": ((0, self.place), (far, 0), (far, far)),
        }[self.form]

    def draw(self, emoji: Set) -> Tensor:
        """The picture (3, SIDE, SIDE) on white."""
        canvas, known = torch.ones(3, SIDE, SIDE), emoji.names or []
        for i, (name, (y, x)) in enumerate(zip(self.names, self.corners, strict=True)):
            rows = [j for j, other in enumerate(known) if other == name]
            canvas[:, y : y + PART, x : x + PART] = emoji.images[rows[(self.style >> i) % len(rows)]]
        return canvas


def emoji_of(emoji: Set, count: int) -> Set:
    """Those of `count` names of at most two words that are drawn in several styles."""
    known = emoji.names or []
    several = sorted({n for n in known if known.count(n) > 1 and len(n.split()) < 3})
    order = torch.randperm(len(several), generator=torch.Generator().manual_seed(0)).tolist()
    chosen = {several[i] for i in order[:count]}
    return emoji.select(torch.tensor([i for i, n in enumerate(known) if n in chosen]))


def shifted(emoji: Set, each: int, reach: int = 8) -> tuple[Tensor, list[str]]:
    """`each` pictures of every emoji, moved by up to `reach` pixels on white, and their names."""
    generator, pictures, names = torch.Generator().manual_seed(0), list[Tensor](), list[str]()
    wide = torch.nn.functional.pad(emoji.images, (reach,) * 4, value=1.0)
    for image, name in zip(wide, emoji.names or [], strict=True):
        for y, x in torch.randint(2 * reach + 1, (each, 2), generator=generator).tolist():
            pictures.append(image[:, y : y + PART, x : x + PART])
            names.append(name)
    return torch.stack(pictures), names


def drawn_scenes(names: Sequence[str], train: int, test: int) -> tuple[list[Scene], list[Scene]]:
    """`train` scenes, and `test` different combinations twice, at a place seen in training and at a new one.

    A fifth of all pairs of names stands together in no training scene; test scenes consist of such alone.
    """
    generator, n = torch.Generator().manual_seed(1), len(names)
    held = (torch.rand(n, n, generator=generator) < 0.2).triu(1)
    held |= held.T.clone()
    old = [p for p in range(SIDE - PART + 1) if p not in NEW]
    things = list(names)  # a plain text is a sequence of texts too
    learnt, scored = list[Scene](), dict[tuple[str, ...], list[Scene]]()
    while len(learnt) < train or len(scored) < test:
        form = FORMS[(len(learnt) if len(learnt) < train else len(scored)) % len(FORMS)]
        some = torch.randperm(n, generator=generator)[: len(form.split()) + 1].tolist()
        style, a, b = torch.randint(2**16, (3,), generator=generator).tolist()
        new = [bool(held[i, j]) for i, j in combinations(some, 2)]
        called = tuple(things[i] for i in some)
        if not any(new) and len(learnt) < train:
            learnt.append(Scene(called, form, old[a % len(old)], style))
        if all(new) and len(learnt) == train and (*called, form) not in scored:
            places = old[a % len(old)], NEW[b % len(NEW)]
            scored[(*called, form)] = [Scene(called, form, p, style) for p in places]
    return learnt, [scenes[i] for i in range(2) for scenes in scored.values()]


def read(caption: str) -> tuple[list[str], list[str]]:
    """Things and relations of a caption, in its order."""
    found = re.split(rf"\s*\b({'|'.join(FORMS[:2])})\b\s*", caption)
    return found[::2], found[1::2]


def parts_right(caption: str, truth: str) -> float:
    """Share of the things that are named, wrong and missing ones counting against it."""
    said, true = read(caption)[0], read(truth)[0]
    return len({*said} & {*true}) / max(len(said), len(true))


def relation_right(caption: str, truth: str) -> float:
    """1 where the relations are right and no thing that stands in the scene is named at another's place."""
    (said, how), (true, true_how) = read(caption), read(truth)
    placed = all(name not in true or true.index(name) == i for i, name in enumerate(said))
    return float(how == true_how and placed)


def found_again(captions: Sequence[str], truth: Sequence[str]) -> list[float]:
    """Whether of all true captions each one's own is the nearest, by BLEU; ties count for their share."""
    pool, hits = list(dict.fromkeys(truth)), list[float]()
    for caption, own in zip(captions, truth, strict=True):
        scores = [sentence_bleu(caption, other) for other in pool]
        best = max(scores)
        hits.append((scores[pool.index(own)] == best) / scores.count(best))
    return hits
