"""Captions as rows of tokens, caption [SEP] [PAD] .., and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from headwater.data.tokenizer import Tokenizer


def written(tokenizer: Tokenizer, captions: Sequence[str], length: int) -> Tensor:
    """Rows caption [SEP] [PAD] .., int64 (B, length); long captions are cut."""
    rows = [[*ids[: length - 1], tokenizer.sep] for ids in tokenizer.split(captions)]
    return torch.tensor([row + [tokenizer.pad] * (length - len(row)) for row in rows])


def read(tokenizer: Tokenizer, ids: Tensor) -> list[str]:
    """Captions of rows (B, L): up to the first [SEP], repeated neighbours merged."""
    ended = (ids == tokenizer.sep).cumsum(1) > 0
    repeated = torch.cat([torch.zeros_like(ended[:, :1]), ids[:, 1:] == ids[:, :-1]], 1)
    return tokenizer.decode(ids.masked_fill(ended | repeated, tokenizer.pad))
