"""An attack by one who cannot see the model, and practises on another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from headwater.attacks.ascent import APGD
from headwater.attacks.suite import Attack
from headwater.attacks.threat import Threat


@dataclass(frozen=True, eq=False)
class Transfer:
    """Attack a classifier of the attacker's own, trained for the same task, and show the model what breaks it
    (Papernot et al. 2016). Knows nothing of the model: neither its weights nor whether it has a purifier.

    A model that this breaks more than exact gradients do hides its gradients.
    """

    surrogate: nn.Module
    """From pictures in [0, 1] to logits."""
    attack: Attack = field(default_factory=lambda: APGD(20))
    """How the surrogate is attacked."""

    def perturb(
        self, model: nn.Module, threat: Threat, images: Tensor, labels: Tensor, seeds: Sequence[int]
    ) -> list[Tensor]:
        """Candidates (B, C, H, W), for which `model` is never called."""
        return self.attack.perturb(self.surrogate, threat, images, labels, seeds)
