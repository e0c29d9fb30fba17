"""Published models of transformers by name: the local copy first, and no long wait for a hub out of reach."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from headwater.errors import UserError, need

if TYPE_CHECKING:
    from torch import Tensor

_PATIENCE = 5.0
"""Seconds that the hub has to answer."""
_READS = (OSError, ValueError, KeyError, AttributeError, ImportError)
"""What transformers raises for what it cannot read."""


def pretrained(kind: str, name: str, instead: str) -> Any:
    """What the class `kind` of transformers reads from a local folder or under a Hugging Face name.

    A name without a local copy costs one question to the hub before anything is asked for again and again.
    Raises UserError, in a sentence that ends with what to do `instead`, when it cannot be read or
    transformers is not installed.
    """
    try:
        import transformers
        from huggingface_hub import HfApi
    except ImportError:
        raise UserError(f"{name} needs transformers: pip install 'headwater[text]'") from None
    # Weights come from safetensors alone: reading a pickle may run what is in it.
    safe = {} if kind == "AutoTokenizer" else {"use_safetensors": True}
    read = partial(getattr(transformers, kind).from_pretrained, **safe)
    try:
        return read(name, local_files_only=True)
    except _READS:
        pass  # not here, or not whole
    try:
        HfApi().model_info(name, timeout=_PATIENCE)
    # Each release of the hub's library raises those of its own HTTP library.
    except Exception:
        raise UserError(_missing(kind, name, instead)) from None
    try:
        return read(name)
    except _READS:
        raise UserError(_missing(kind, name, instead)) from None


def word_vectors(name: str, entries: int, dim: int) -> Tensor:
    """The first entries of the input embedding of a model of transformers, (entries, dim).

    Raises UserError where it has fewer, or vectors of another width, or cannot be read.
    """
    model = pretrained("AutoModel", name, "words=random")
    table: Tensor = model.get_input_embeddings().weight.detach().clone()
    wide = table.shape[1]
    need(wide == dim, f"word vectors of {name} are {wide} wide: set dim to that")
    need(len(table) >= entries, f"{name} has {len(table)} word vectors, its tokenizer {entries} words")
    return table[:entries]


def _missing(kind: str, name: str, instead: str) -> str:
    what = {"AutoTokenizer": "tokenizer", "CLIPModel": "CLIP"}.get(kind, "model")
    return (
        f"no {what} called {name!r} could be read: give a Hugging Face name that you can reach, a local "
        f"folder, or {instead}"
    )
