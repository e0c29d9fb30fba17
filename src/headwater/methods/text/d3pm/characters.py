"""Texts as rows of characters: a vocabulary, windows for training, pieces to write in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from headwater.errors import need
from headwater.noise import Purpose, derive

END = "\n"
"""Stands between two texts of a corpus."""


@dataclass(frozen=True)
class Characters:
    """The characters of a corpus, sorted; a character's id is its place."""

    symbols: str

    @classmethod
    def of(cls, texts: Sequence[str]) -> Characters:
        """Those of some texts, and the end of a text. Raises UserError where there are no texts."""
        need(any(texts), "there are no texts to train on: give some")
        return cls("".join(sorted({END, *"".join(texts)})))

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: i for i, symbol in enumerate(self.symbols)}

    def encode(self, text: str, hole: str = "") -> Tensor:
        """Ids (L,) int64; -1 where the text has the character `hole`. UserError names an unknown one."""
        unknown = sorted(set(text) - self._ids.keys() - {hole})
        need(
            not unknown,
            f"the training texts have no {unknown[0] if unknown else ''!r}: replace it, or fit on texts "
            "that have it",
        )
        return torch.tensor([-1 if c == hole else self._ids[c] for c in text], dtype=torch.int64)

    def decode(self, ids: Tensor) -> str:
        """The text of ids (L,)."""
        return "".join(self.symbols[i] for i in ids.tolist())


def stream_of(characters: Characters, texts: Sequence[str]) -> Tensor:
    """All texts one after the other, an end behind each: (N,) int64."""
    return characters.encode("".join(text + END for text in texts))


def windows(stream: Tensor, length: int, batch: int, seed: int, step: int) -> Tensor:
    """Windows of update `step`, (batch, length), each equally likely to begin anywhere."""
    generator = torch.Generator().manual_seed(derive(seed, Purpose.D3PM_WINDOWS, step))
    first = torch.randint(len(stream) - length + 1, (batch,), generator=generator)
    return stream[first[:, None] + torch.arange(length)]


def pair_counts(stream: Tensor, size: int) -> Tensor:
    """How often character j follows i, (size, size) int64."""
    return torch.bincount(stream[:-1] * size + stream[1:], minlength=size * size).reshape(size, size)


@dataclass(frozen=True, eq=False)
class Piece:
    """At most `length` characters of a text."""

    text: int
    start: int
    ids: Tensor
    """(L,) int64, -1 where a character is to be written."""


def pieces(encoded: Sequence[Tensor], length: int) -> list[Piece]:
    """All texts cut into pieces."""
    cut = ((i, ids.split(length)) for i, ids in enumerate(encoded))
    return [Piece(i, j * length, part) for i, parts in cut for j, part in enumerate(parts)]


def joined(parts: Sequence[Piece], count: int) -> list[Tensor]:
    """The pieces of `count` texts, put together again."""
    found: list[list[Tensor]] = [[] for _ in range(count)]
    for part in sorted(parts, key=lambda p: (p.text, p.start)):
        found[part.text].append(part.ids)
    return [torch.cat(ids) for ids in found]
