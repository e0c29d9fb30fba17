"""How CLIP-Diffusion-LM learns: every caption at several levels at once, text features left out at random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from headwater.methods.text.clip_diffusion_lm.caption_loss import losses
from headwater.methods.text.clip_diffusion_lm.fitted import FittedCaptioner
from headwater.methods.text.diffuseq.partial_noising import gaussian
from headwater.nets.caption_denoiser import CaptionDenoiser
from headwater.sampling import Run
from headwater.training import TrainerConfig, train
from headwater.training.timesteps import uniform


@dataclass(frozen=True, eq=False)
class Captioned:
    """Pictures and their captions as the network takes them, N rows each."""

    ids: Tensor
    """Tokens, (N, L) int64."""
    seen: Tensor
    """Vectors of the pictures, (N, D)."""
    given: Tensor
    """Vectors of texts at hand, (N, D)."""

    def rows(self, index: Tensor, device: str) -> Captioned:
        """Some of the rows, on a device."""
        return Captioned(*(v[index].to(device) for v in (self.ids, self.seen, self.given)))


def learn(
    fitted: FittedCaptioner,
    data: Captioned,
    levels: int,
    withheld: float,
    rounding_weight: float,
    config: TrainerConfig,
    run: Run,
    about: Mapping[str, Any],
) -> FittedCaptioner:
    """Train fitted.network by `losses` at so many levels; `withheld`: share of rows whose text is not seen.

    about: the settings that decide the result.
    """

    def loss(network: nn.Module, rows: Tensor, number: int) -> Tensor:
        some, learning = data.rows(rows, run.device), cast(CaptionDenoiser, network)
        t = uniform(levels, fitted.process.T)
        told = (torch.rand(levels * len(some.ids)) > withheld).long().to(run.device)
        found = losses(
            replace(fitted.denoiser, network=network),
            learning.codec,
            some.ids,
            t,
            gaussian,
            told,
            image=some.seen,
            text=some.given,
        )
        return found.total(rounding_weight)

    trained = train(fitted.network, loss, len(data.ids), config, run, about)
    return replace(fitted, network=cast(CaptionDenoiser, trained))
