"""Encoders of pictures and texts as vectors of one space: a small one of ours, or a published CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from torch import Tensor

from headwater.data.wording import short
from headwater.errors import need
from headwater.gallery import find
from headwater.metrics.dual_encoder import DualEncoder, EncoderConfig, train_dual_encoder
from headwater.models.filling import Parts
from headwater.models.folder import inner, is_ours
from headwater.models.pretrained import Pretrained
from headwater.modes import in_evaluation
from headwater.nets.clip import Clip
from headwater.notes import note_some


class Encodes(Protocol):
    """What methods ask of an encoder: an `ImageTextEncoder`, a `Clip`, or one of your own."""

    @property
    def channels(self) -> int: ...

    @property
    def side(self) -> int: ...

    def image(self, images: Tensor) -> Tensor:
        """Unit vectors (B, D) of pictures (B, channels, side, side) in [-1, 1]; gradients flow through."""
        ...

    def text(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (B, D) of texts."""
        ...

    def knows(self, text: str) -> bool:
        """Whether the text says anything to it."""
        ...


@dataclass(frozen=True)
class ImageTextConfig:
    """Sizes and vocabulary of an `ImageTextEncoder`."""

    encoder: EncoderConfig
    channels: int = 3
    """Number of channels of the pictures."""
    dim: int = 64
    """Number of entries of a vector."""
    about: dict[str, Any] = field(default_factory=dict)
    """Name, data, steps, time, metrics, licence: what the model card says."""

    def __post_init__(self) -> None:
        need(self.channels in (1, 3), f"pictures have 1 channel or 3, not {self.channels}")
        need(1 <= self.dim <= 4096, f"vectors have 1 to 4,096 entries, not {self.dim}")


@dataclass(frozen=True, eq=False)
class ImageTextEncoder(Pretrained):
    """A small dual encoder of pictures and texts with its vocabulary, for methods that are led by a text.

    >>> encoder = hw.ImageTextEncoder.from_pretrained("emoji-captions")
    >>> image, text = hw.load("emoji", "train", 32).images[:1], ["1st place medal", "red heart"]
    >>> bool((encoder.image(image) @ encoder.text(text).T).argmax() == 0)
    True
    """

    network: DualEncoder
    config: ImageTextConfig

    kind = "image-text-encoder"
    tags = ("feature-extraction",)
    home = "headwater"
    example = ('vectors = image_text_encoder.text(["red heart"])',)

    @classmethod
    def networks(cls, config: ImageTextConfig) -> Parts:
        sizes = config.encoder
        return {
            "network": DualEncoder(config.channels, sizes.side, sizes.vocabulary, sizes.width, config.dim)
        }

    @classmethod
    def train(
        cls,
        image: Tensor,
        text: Sequence[str],
        seed: int = 0,
        steps: int = 600,
        *,
        radius: float = 2.0,
        about: dict[str, Any] | None = None,
        progress: bool = True,
    ) -> Self:
        """One that learned that image[i] (C, S, S) in [-1, 1] and text[i] belong together.

        radius: how far pictures are disturbed in training, so that its gradients lead to shapes rather than
        to stains: see `train_dual_encoder`. Raises ValueError where images and texts do not fit.
        """
        network = train_dual_encoder(image, text, seed, steps, progress=progress, radius=radius)
        dim = network.head.out_features
        return cls(network, ImageTextConfig(EncoderConfig.of(network), image.shape[1], dim, about or {}))

    @property
    def channels(self) -> int:
        return self.network.channels

    @property
    def side(self) -> int:
        return self.network.side

    @in_evaluation
    def image(self, images: Tensor) -> Tensor:
        """Unit vectors (B, D) of pictures (B, channels, side, side) in [-1, 1]."""
        return self.network.image(images)

    @in_evaluation
    def text(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (B, D) of texts; words that it was not trained on count as one unknown word:
        `note_lost` says which texts have some."""
        return self.network.text(texts)

    def note_lost(self, texts: Sequence[str]) -> None:
        """Note which of some texts have words that it was not trained on."""
        words = {text: self.network.unknown(text) for text in texts}
        lost = [f"{short(text)} ({', '.join(words[text][:3])})" for text in texts if words[text]]
        note_some("had words that the encoder was not trained on", lost, len(texts))

    def knows(self, text: str) -> bool:
        """Whether it was trained on any word of the text."""
        return self.network.knows(text)


def encoder_of(where: str, device: str = "cpu") -> Encodes:
    """An `ImageTextEncoder` by folder or shipped name, or else a CLIP of transformers by folder or name.

    Raises UserError for what is neither.
    """
    path = Path(where).expanduser()
    ours = is_ours(inner(path)) if path.is_dir() else find("fitted", where) is not None
    if ours:
        return ImageTextEncoder.from_pretrained(where, device=device)
    return Clip(where, device, 'the encoder that ships, "emoji-captions"')
