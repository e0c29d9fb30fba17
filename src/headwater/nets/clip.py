"""Published CLIP models: pictures and texts as vectors of one space (Radford et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.data.pretrained import pretrained
from headwater.data.wording import short
from headwater.notes import note_some


class Clip:
    """A CLIP model of transformers by name or folder.

    Raises UserError, which ends with what to give `instead`, when it cannot be read or transformers is not
    installed.
    """

    channels = 3

    def __init__(self, name: str, device: str = "cpu", instead: str = "features=trained") -> None:
        model = pretrained("CLIPModel", name, instead)
        self.tokenizer = pretrained("AutoTokenizer", name, instead)
        self.name, self.device = name, device
        self.model = model.to(device).eval().requires_grad_(False)
        # The published normalisation of all OpenAI CLIPs.
        self.mean = torch.tensor([0.48145466, 0.4578275, 0.40821073], device=device)[:, None, None]
        self.std = torch.tensor([0.26862954, 0.26130258, 0.27577711], device=device)[:, None, None]

    @property
    def side(self) -> int:
        """Of the pictures that it was trained on, in pixels."""
        return self.model.config.vision_config.image_size

    def knows(self, text: str) -> bool:
        """Whether the text says anything."""
        return bool(text.strip())

    def image(self, images: Tensor) -> Tensor:
        """Unit vectors (B, D) of pictures (B, 3, S, S) in [-1, 1]; resized to the model's own side.

        Gradients flow to pictures that want them.
        """
        side = self.side
        x = (images.to(self.device) + 1) / 2
        if x.shape[-2:] != (side, side):
            x = F.interpolate(x, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        return F.normalize(_vectors(self.model.get_image_features(pixel_values=(x - self.mean) / self.std)))

    @property
    def length(self) -> int:
        """Number of tokens of a text at most, marks included."""
        return self.model.config.text_config.max_position_embeddings

    def note_lost(self, texts: Sequence[str]) -> None:
        """Note which of some texts `text` cuts."""
        rows = self.tokenizer(list(texts), verbose=False)["input_ids"] if texts else []
        cut = [short(text) for text, row in zip(texts, rows, strict=True) if len(row) > self.length]
        note_some(f"had to be cut at {self.length} tokens", cut, len(texts))

    @torch.no_grad()  # vectors of inference mode could not be compared with where a gradient is wanted
    def text(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (B, D) of texts; cut at the model's length: `note_lost` says which."""
        tokens = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.length, return_tensors="pt"
        )
        given = {k: tokens[k].to(self.device) for k in ("input_ids", "attention_mask")}
        return F.normalize(_vectors(self.model.get_text_features(**given)))


def _vectors(found: Any) -> Tensor:
    """Older releases of transformers return the vectors, newer ones an output that holds them."""
    return found if isinstance(found, Tensor) else found.pooler_output
