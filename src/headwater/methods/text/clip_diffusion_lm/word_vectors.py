"""Word vectors of a published model."""

from __future__ import annotations

from torch import Tensor

from headwater.data.pretrained import pretrained
from headwater.errors import need


def published_vectors(name: str, entries: int, dim: int) -> Tensor:
    """The input embedding (entries, dim) of the transformers model `name`, or of a local folder.

    Raises UserError when it cannot be read or has another size.
    """
    table: Tensor = (
        pretrained("AutoModel", name, "words=random").get_input_embeddings().weight.detach().clone()
    )
    need(table.shape[1] == dim, f"word vectors of {name} are {table.shape[1]} wide: set dim to that")
    need(len(table) >= entries, f"{name} has {len(table)} word vectors, its tokenizer {entries} words")
    return table[:entries]
