"""Two texts in one row of tokens, [CLS] source [SEP] target [SEP] [PAD] .., and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.data.tokenizer import Tokenizer
from headwater.data.wording import says_nothing, short
from headwater.errors import need
from headwater.notes import note_some

_MARKS = 3
"""[CLS] and two [SEP]."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows of tokens.

    ids: (B, L) int64. target: (B, L) bool, True from the target's first token to the end of the row, padding
    included; the rest is [CLS] source [SEP].
    """

    ids: Tensor
    target: Tensor

    def rows(self, index: Tensor | slice | list[int]) -> Pairs:
        """Some of the rows."""
        return Pairs(self.ids[index], self.target[index])

    def to(self, device: str | torch.device) -> Pairs:
        return Pairs(self.ids.to(device), self.target.to(device))


def pack(
    tokenizer: Tokenizer, source: Sequence[str], target: Sequence[str] | None = None, length: int = 128
) -> Pairs:
    """Lay texts out in rows of `length` tokens; without targets their place is padding.

    A source is cut to half the row, so that it reads the same in training and in use; a target to what is
    left. Which were cut, or have unknown words, is noted. Raises UserError for no texts, a source that is
    empty or has unknown words alone, numbers that differ, or too short a row.
    """
    need(len(source) > 0, "there are no source texts")
    need(length > _MARKS + 1, f"a row of {length} tokens has no room for two texts: make it longer")
    empty = [i for i, text in enumerate(source) if says_nothing(text)]
    need(not empty, f"source text {empty[0] + 1 if empty else 0} is empty: leave it out")
    paired = target is None or len(target) == len(source)
    need(
        paired,
        f"there are {len(source)} source and {len(target or ())} target texts: give one target for each",
    )
    ids = torch.full((len(source), length), tokenizer.pad)
    noised = torch.ones(len(source), length, dtype=torch.bool)
    heads = tokenizer.read(source, (length - _MARKS) // 2, "source texts", must=True)
    tails, cut = tokenizer.read(target or [""] * len(source), None, "target texts"), list[str]()
    for i, (x, y) in enumerate(zip(heads, tails, strict=True)):
        head = [tokenizer.cls, *x, tokenizer.sep]
        row = head if target is None else [*head, *y[: length - len(head) - 1], tokenizer.sep]
        if target is not None and len(y) > length - len(head) - 1:
            cut.append(short(target[i]))
        ids[i, : len(row)] = torch.tensor(row)
        noised[i, : len(head)] = False
    note_some(
        f"had to be cut to what a row of {length} tokens has left", cut, len(target or ()), "target texts"
    )
    return Pairs(ids, noised)


def targets(tokenizer: Tokenizer, pairs: Pairs) -> list[str]:
    """The target texts of rows: what is there up to the first [SEP]."""
    return tokenizer.decode(pairs.ids.where(pairs.target, tokenizer.pad), first=True)
