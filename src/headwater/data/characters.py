"""Text as ids of single characters: the vocabulary of a corpus, and the corpus as one row of ids."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from headwater.data.wording import plain
from headwater.errors import need

END = "\n"
"""Stands behind each text of a corpus."""


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
        """Ids (L,) int64; -1 where the text has the character `hole`. UserError names an unknown one.

        Characters may be composed or not, whatever they were in training; unknown ones of no width go.
        """
        if set(text) - self._ids.keys() - {hole}:
            forms = (plain(text), unicodedata.normalize("NFD", plain(text)))
            text = next((form for form in forms if set(form) <= {*self._ids, hole}), text)
        unknown = sorted(set(text) - self._ids.keys() - {hole})
        first = unknown[0] if unknown else ""
        code = "" if first.isascii() else f" (U+{ord(first):04X})"  # many look alike
        need(
            not unknown,
            f"the training texts have no {first!r}{code}: replace it, or fit on texts that have it",
        )
        return torch.tensor([-1 if c == hole else self._ids[c] for c in text], dtype=torch.int64)

    def stream(self, texts: Sequence[str]) -> Tensor:
        """All texts one after the other, an end behind each: (N,) int64."""
        return self.encode("".join(text + END for text in texts))

    def decode(self, ids: Tensor) -> str:
        """The text of ids (L,)."""
        return "".join(self.symbols[i] for i in ids.tolist())
