"""Word vectors of a published model."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from headwater.errors import UserError, need


def published_vectors(name: str, entries: int, dim: int) -> Tensor:
    """The input embedding (entries, dim) of the transformers model `name`, or of a local folder.

    Raises UserError when it cannot be read or has another size.
    """
    try:
        from transformers import AutoModel
    except ImportError:
        raise UserError(f"{name} needs transformers: pip install 'headwater[text]'") from None
    try:
        model: Any = AutoModel.from_pretrained(name)
    except (OSError, ValueError, KeyError, ImportError):
        raise UserError(
            f"no model called {name!r} could be read: give a Hugging Face name that you can reach, or "
            "words=random"
        ) from None
    table: Tensor = model.get_input_embeddings().weight.detach().clone()
    need(table.shape[1] == dim, f"word vectors of {name} are {table.shape[1]} wide: set dim to that")
    need(len(table) >= entries, f"{name} has {len(table)} word vectors, its tokenizer {entries} words")
    return table[:entries]
