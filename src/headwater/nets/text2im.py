"""GLIDE's U-Nets: guided diffusion's, with text in the time embedding and in every attention block.

Source: Nichol et al., "GLIDE: Towards Photorealistic Image Generation and Editing with Text-Guided Diffusion
Models", 2022, arXiv 2112.10741, section 3. Parameter names follow openai/glide-text2im (MIT), so its weights
load with `strict=True`. Text enters as what `encode` returns: it does not depend on the timestep, so a
sampling loop encodes a caption once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.nets.adm import UNet, UNetConfig
from headwater.nets.adm_blocks import check_input, zeroed
from headwater.nets.infer import unet_fields
from headwater.nets.text_encoder import TextConfig, TextTower


@dataclass(frozen=True)
class Text2ImConfig(UNetConfig):
    """A `UNetConfig` and its text tower. JSON-able: a mapping becomes a `TextConfig`.

    `in_channels` counts what the first convolution reads: image channels C, 2C + 1 to inpaint, 2C to enlarge.
    """

    text: TextConfig = field(default_factory=TextConfig)

    def __post_init__(self) -> None:
        if isinstance(self.text, Mapping):
            object.__setattr__(self, "text", TextConfig(**self.text))
        super().__post_init__()

    @property
    def context_channels(self) -> int | None:
        return self.text.width


class Text2Im(UNet, TextTower):
    """Text to picture: x (B,C,H,W), timesteps (B,), summary (B,E), context (B,L,W) -> (B,out,H,W)."""

    config: Text2ImConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, config: Text2ImConfig) -> None:
        super().__init__(config)
        self.build_text(config.text, 4 * config.model_channels)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, timesteps: Tensor, summary: Tensor, context: Tensor
    ) -> Tensor:
        """One evaluation, given what `encode` made of the caption; the output has the dtype of `x`.

        The summary is added to the time embedding; the context gives attention further keys and values.
        Raises ValueError on a wrong shape.
        """
        check_input(self.config, x, timesteps)
        emb = self.embed(timesteps)
        emb = emb + summary.to(emb.dtype)
        last = x
        for _, output in self.walk(x, emb, context=context.to(emb.dtype)):
            last = output
        return self.out(last).to(x.dtype)


class InpaintText2Im(Text2Im):
    """Text to the unknown part of a picture; also reads the given part and where it is."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, timesteps: Tensor, summary: Tensor, context: Tensor, image: Tensor, known: Tensor
    ) -> Tensor:
        """image (B,C,H,W), any value where unknown; known (B,1,H,W), 1 where given and 0 elsewhere."""
        known = known.to(x.dtype)
        return super().forward(torch.cat([x, image * known, known], dim=1), timesteps, summary, context)

    def start_from(self, state: Mapping[str, Any]) -> None:
        """Take a `Text2Im`'s weights; those of the further channels begin at zero (the paper, sec. 3.2)."""
        first = "input_blocks.0.0.weight"
        wide = zeroed(self.input_blocks[0][0]).weight.detach().clone()  # pyright: ignore[reportIndexIssue]
        wide[:, : state[first].shape[1]] = state[first]
        self.load_state_dict({**state, first: wide})


class SuperResText2Im(Text2Im):
    """Text and a small picture to a large one; the small one is enlarged bilinearly and read beside x."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, timesteps: Tensor, summary: Tensor, context: Tensor, low: Tensor
    ) -> Tensor:
        """low (B,C,h,w), of any size."""
        large = F.interpolate(low, x.shape[-2:], mode="bilinear")
        return super().forward(torch.cat([x, large], dim=1), timesteps, summary, context)


def published(shapes: Mapping[str, Sequence[int]], settings: Mapping[str, Any]) -> Text2ImConfig:
    """The network behind names and shapes of openai/glide-text2im.

    settings: what shapes do not say, as its model_creation.py names it: `xf_heads`, `num_heads` or
    `num_head_channels`; by default 64 channels per head, as in the released models.
    """
    vocab, width = shapes["token_embedding.weight"]
    layers = {name.split(".")[2] for name in shapes if name.startswith("transformer.resblocks.")}
    many, final = settings.get("xf_heads", max(1, width // 64)), "final_ln.weight" in shapes
    text = TextConfig(vocab, shapes["positional_embedding"][0], width, len(layers), many, final)
    heads = {k: settings[k] for k in ("num_heads", "num_head_channels") if k in settings}
    heads = heads or {"num_head_channels": 64}
    return Text2ImConfig(**unet_fields(shapes, use_new_attention_order=False, **heads), text=text)
