"""Vectors of pictures and of texts in one space: the conditioning of a captioner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.data.pretrained import pretrained
from headwater.errors import need
from headwater.metrics.dual_encoder import DualEncoder, train_dual_encoder


class Features(Protocol):
    """A pair of encoders: `DualEncoder`, or a published CLIP."""

    def image(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in [-1, 1] -> unit vectors (B, D)."""
        ...

    def text(self, texts: Sequence[str]) -> Tensor:
        """Texts -> unit vectors (B, D)."""
        ...


class Clip:
    """A CLIP model of transformers by name or folder (Radford et al. 2021).

    Raises UserError when it cannot be read or transformers is not installed.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        model = pretrained("CLIPModel", name, "features=trained")
        self.tokenizer = pretrained("AutoTokenizer", name, "features=trained")
        self.name, self.device = name, device
        self.model = model.to(device).eval().requires_grad_(False)
        # The published normalisation of all OpenAI CLIPs.
        self.mean = torch.tensor([0.48145466, 0.4578275, 0.40821073], device=device)[:, None, None]
        self.std = torch.tensor([0.26862954, 0.26130258, 0.27577711], device=device)[:, None, None]

    @torch.inference_mode()
    def image(self, images: Tensor) -> Tensor:
        """As `Features.image`; resized to the model's own side."""
        side = self.model.config.vision_config.image_size
        x = (images.to(self.device) + 1) / 2
        if x.shape[-2:] != (side, side):
            x = F.interpolate(x, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        return F.normalize(_vectors(self.model.get_image_features(pixel_values=(x - self.mean) / self.std)))

    @torch.inference_mode()
    def text(self, texts: Sequence[str]) -> Tensor:
        """As `Features.text`; texts are cut at the model's length."""
        longest = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt"
        )
        given = {k: tokens[k].to(self.device) for k in ("input_ids", "attention_mask")}
        return F.normalize(_vectors(self.model.get_text_features(**given)))


def opened(
    features: str, image: Tensor, caption: Sequence[str], seed: int, steps: int, device: str
) -> DualEncoder | Clip:
    """The CLIP called `features`, or for `trained` a dual encoder trained on pictures and their captions."""
    if features != "trained":
        return Clip(features, device)
    side = image.shape[-1]
    need(side % 8 == 0, f"a dual encoder takes sides that are multiples of 8, not {side}")
    return train_dual_encoder(image.to(device), caption, seed, steps)


def _vectors(found: Any) -> Tensor:
    """Older releases of transformers return the vectors, newer ones an output that holds them."""
    return found if isinstance(found, Tensor) else found.pooler_output


def encoded(encode: Callable[[Any], Tensor], items: Any, batch: int = 256) -> Tensor:
    """Vectors of many pictures or texts, (N, D), of length sqrt(D), on the CPU, a batch at a time.

    Of that length, a channel is about as large as one of a word's vector, and a network uses it at once.
    """
    need(len(items) > 0, "there is nothing to encode")
    with torch.inference_mode():
        unit = torch.cat([encode(items[i : i + batch]).cpu() for i in range(0, len(items), batch)])
    return unit * unit.shape[1] ** 0.5  # outside inference mode: a training saves it for its gradients


def neighbours(images: Tensor, texts: Tensor, number: Tensor | None = None) -> Tensor:
    """For each picture vector (B, D) the index of the nearest text vector (M, D), (B,) int64.

    number: (B,), where B = M and pairs of one number share their text: such texts are passed over.
    """
    near = images @ texts.T
    if number is not None:
        near = near.masked_fill(number[:, None] == number[None], -torch.inf)
    return near.argmax(1)
