"""GLIDE's text transformer: token ids to one vector for the picture and one for each token.

Source: Nichol et al., "GLIDE: Towards Photorealistic Image Generation and Editing with Text-Guided Diffusion
Models", 2022, arXiv 2112.10741, section 3. Parameter names follow openai/glide-text2im (MIT).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headwater.errors import UserError
from headwater.nets.adm_blocks import self_attention


@dataclass(frozen=True)
class TextConfig:
    """The defaults are the released base model's. Raises ValueError when the heads do not fit the width."""

    vocab: int = 50257
    """Entries of the tokenizer."""
    ctx: int = 128
    """Tokens of a text, padding included."""
    width: int = 512
    layers: int = 16
    heads: int = 8
    final_ln: bool = True
    """Normalise the last layer's output."""

    def __post_init__(self) -> None:
        if min(self.vocab, self.ctx, self.width, self.heads) < 1 or self.layers < 0:
            raise UserError("choose a vocabulary, a length, a width and heads of 1 or more.")
        if self.width % self.heads:
            raise UserError(f"choose a text width ({self.width}) that splits into {self.heads} heads.")


class TextAttention(nn.Module):
    """Every token looks at every token, padding included: (B,L,W) -> (B,L,W)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.c_qkv = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(self_attention(self.c_qkv(x), self.heads, "(heads qkv d)"))


class TextMLP(nn.Module):
    """(B,L,W) -> (B,L,W) through four times the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.gelu = nn.GELU()
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(self.gelu(self.c_fc(x)))


class TextBlock(nn.Module):
    """Attention, then a hidden layer, each behind a normalisation and beside a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = TextAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = TextMLP(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Blocks in a row."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*(TextBlock(width, heads) for _ in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        return self.resblocks(x)


class TextTower(nn.Module):
    """Token ids (B,L) to a summary (B,out) and a context (B,L,W): the part of GLIDE that sees no picture.

    A base class, because the reference keeps these parameters beside the U-Net's, without a prefix. Where
    `mask` is False a learned vector of the place stands instead of the token; an all-False mask is the empty
    caption. The summary is read off the LAST place, whatever it holds.
    """

    def build_text(self, config: TextConfig, out: int) -> None:
        """Make the parameters; `out` is the size of the summary."""
        self.transformer = Transformer(config.width, config.layers, config.heads)
        self.final_ln = nn.LayerNorm(config.width) if config.final_ln else nn.Identity()
        self.token_embedding = nn.Embedding(config.vocab, config.width)
        # The reference leaves both uninitialised, since it only ever loads them.
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(config.ctx, config.width))
        self.padding_embedding = nn.Parameter(0.01 * torch.randn(config.ctx, config.width))
        self.transformer_proj = nn.Linear(config.width, out)

    def encode(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """tokens (B,ctx) int64, mask (B,ctx) bool. Raises ValueError for another length."""
        places = self.positional_embedding
        if tokens.shape[1:] != places.shape[:1] or mask.shape != tokens.shape:
            raise ValueError(f"pass tokens and mask of shape (B, {len(places)}).")
        x = (self.token_embedding(tokens) + places).where(mask[..., None], self.padding_embedding)
        context = self.final_ln(self.transformer(x))
        return self.transformer_proj(context[:, -1]), context
