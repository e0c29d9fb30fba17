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
from headwater.training import TrainerConfig, train
from headwater.training.timesteps import LossSecondMoment


def learn(
    fitted: FittedDiffuSeq, pairs: Pairs, config: TrainerConfig, run: Run, about: Mapping[str, Any]
) -> FittedDiffuSeq:
    """Train fitted.network on rows; the losses seen so far are kept with its checkpoints.

    about: the settings that decide the result.
    """

    def loss(both: Any, rows: Tensor, number: int) -> Tensor:
        batch, network = pairs.rows(rows).to(run.device), both["network"]
        t, weights = both["levels"].draw(len(rows))
        codec = network.codec(float(fitted.process.sigma[1]))
        each = losses(replace(fitted.denoiser, network=network), codec, batch, t).total
        both["levels"].note(t, each)
        return (each * weights.to(each)).mean()

    both = nn.ModuleDict({"network": fitted.network, "levels": LossSecondMoment(fitted.process.T)})
    trained: Any = train(both, loss, len(pairs.ids), config, run, about)
    return replace(fitted, network=trained["network"])
