"""How DiffuSeq learns from rows of two texts: levels are drawn in proportion to the size of their loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from headwater.methods.text.diffuseq.fitted import FittedDiffuSeq
from headwater.methods.text.diffuseq.partial_noising import losses
from headwater.methods.text.diffuseq.sequence_pairs import Pairs
from headwater.sampling import Run
from headwater.training.importance import LossSecondMoment
from headwater.training.optimisation import Optimisation, train
from headwater.training.order import batch_rows


def learn(
    fitted: FittedDiffuSeq, pairs: Pairs, how: Optimisation, run: Run, about: Mapping[str, Any]
) -> FittedDiffuSeq:
    """Train fitted.network on rows; the losses seen so far are kept with its checkpoints.

    about: the settings that decide the result.
    """
    levels = LossSecondMoment(fitted.process.T)

    def loss(both: nn.Module, step: int) -> Tensor:
        batch = pairs.rows(batch_rows(run.seed, len(pairs.ids), how.batch, step)).to(run.device)
        t, weights = levels.draw(len(batch.ids))
        each = losses(fitted.denoiser, fitted.codec, batch, t).total
        levels.note(t, each)
        return (each * weights.to(each)).mean()

    both = nn.ModuleDict({"network": fitted.network, "levels": levels})
    trained: Any = train(both, loss, how, run, about)
    return replace(fitted, network=trained["network"])
