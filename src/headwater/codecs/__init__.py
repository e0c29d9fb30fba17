"""Codecs: how data become the x_0 of a process, and back."""

from headwater.codecs.embedding import Codec, Embedding, Identity

__all__ = ["Codec", "Embedding", "Identity"]
