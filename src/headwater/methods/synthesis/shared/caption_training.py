"""How GLIDE's networks learn from pictures and captions, some of which are emptied."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from headwater.errors import need
from headwater.methods.synthesis.shared.fitted_glide import FittedGlide
from headwater.sampling import Run
from headwater.training import TrainerConfig, train
from headwater.training.timesteps import stratified

G = TypeVar("G", bound=FittedGlide)
Further = Callable[[Tensor], dict[str, Tensor]]
"""Pictures (B,C,H,W) -> further conditions of the network."""

WEIGHTS = 0x474C_4431
"""Purpose of the seed of the first weights."""


def check_pairs(image: Tensor, text: Sequence[str]) -> None:
    """UserError unless there is one caption for each picture, and pictures are RGB or gray in [-1, 1]."""
    need(len(text) > 0, "there are no captions to learn from")
    need(
        image.ndim == 4 and len(image) == len(text),
        f"there are {len(image)} pictures and {len(text)} captions: give one caption for each picture",
    )
    need(any(caption.strip() for caption in text), "all captions are empty: give texts that say something")


def learn(
    fitted: G,
    image: Tensor,
    text: Sequence[str],
    caption_dropout: float,
    config: TrainerConfig,
    run: Run,
    about: Mapping[str, Any],
    further: Further | None = None,
) -> G:
    """Train fitted.network: the loss of a batch is

        mean_i loss(x_t, t, text_i or "" with probability caption_dropout),   t spread evenly over 1 .. T

    further: conditions beside the caption, drawn anew for each batch. Returns it with the averaged
    network.
    """
    need(0 <= caption_dropout < 1, f"caption_dropout is {caption_dropout}: give 0 to below 1")
    tokens, mask = fitted.tokens(text)

    def loss(network: nn.Module, rows: Tensor, number: int) -> Tensor:
        x0 = image[rows].to(run.device)
        t = stratified(len(rows), fitted.process.T, torch.rand(()))
        keep = torch.rand(len(rows), 1) >= caption_dropout
        eps = torch.randn(x0.shape).to(run.device)
        cond = {} if further is None else further(x0)
        told = network.encode(tokens[rows].to(run.device), (mask[rows] & keep).to(run.device))  # pyright: ignore[reportCallIssue]
        cond |= dict(zip(("summary", "context"), told, strict=True))
        return fitted.reading(network).loss(x0, t, eps, **cond).mean()

    return replace(fitted, network=train(fitted.network, loss, len(image), config, run, about))
