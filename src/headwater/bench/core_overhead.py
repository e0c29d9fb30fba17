"""What one reverse step costs outside the network, against diffusers' schedulers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from headwater.bench.row import Row
from headwater.bench.surroundings import installed
from headwater.bench.timing import alternate, relative_agreement
from headwater.core import DDIM, Ancestral, Denoiser, Diffusion, DPMSolver, Heun, Sampler, last, reverse
from headwater.core.prediction import Network
from headwater.core.schedule import betas
from headwater.core.timesteps import network_calls
from headwater.noise import White
from headwater.sampling import Run

Name = Literal["Ancestral", "DDIM", "DPMSolver", "Heun"]
SAMPLERS: dict[Name, Sampler] = {
    "Ancestral": Ancestral(),
    "DDIM": DDIM(),
    "DPMSolver": DPMSolver(),
    "Heun": Heun(),
}
_SCHEDULERS: dict[Name, str] = {
    "Ancestral": "DDPMScheduler",
    "DDIM": "DDIMScheduler",
    "DPMSolver": "DPMSolverMultistepScheduler",
    "Heun": "HeunDiscreteScheduler",
}
TOLERANCE = 1e-3
"""In units of the largest value walked to: schedulers keep their tables in float32."""


@dataclass(frozen=True)
class CoreOverhead:
    """A walk whose network only hands out one fixed tensor, so that nothing but the step is left."""

    sampler: Name
    steps: int
    pairs: int
    side: int = 32

    def rows(self, run: Run) -> list[Row]:
        """Check that both walk a network that depends on x to the same end, then time them per call."""
        q = Diffusion.vp(betas("linear", 1000))
        start, said = torch.randn(2, 1, 1, self.side, self.side, generator=torch.Generator().manual_seed(0))
        scheduler, sampler = self._scheduler(), SAMPLERS[self.sampler]
        scheduler.set_timesteps(self.steps)
        # Heun's list names each level twice: the plan's stays say the same.
        plan = [*dict.fromkeys(int(t) + 1 for t in scheduler.timesteps), 0]

        @torch.inference_mode()
        def ours(network: Network) -> Tensor:
            noise = White().stream([0])
            return last(reverse(Denoiser(network, q), start, plan, sampler, noise=noise))

        @torch.inference_mode()
        def peer(network: Network) -> Tensor:
            scheduler.set_timesteps(self.steps)
            generator = torch.Generator().manual_seed(0)
            extra = {"generator": generator} if self.sampler == "Ancestral" else {}
            # Schedulers of the sigma family carry x / alpha.
            x = start / float(q.alpha[plan[0]]) if self.sampler == "Heun" else start
            for t in scheduler.timesteps:
                out = network(scheduler.scale_model_input(x, t), t)
                x = scheduler.step(out, t, x, **extra).prev_sample
            return x

        ends = ours(_bends), peer(_bends)
        equal = relative_agreement(*ends, TOLERANCE, "ends of walks by eps = sin x")
        fixed: Network = lambda x, label: said  # noqa: E731
        calls = network_calls(sampler.plan(plan))
        name = f"step of {self.sampler}"
        times = alternate(lambda: ours(fixed), lambda: peer(fixed), self.pairs, run, name, (calls, calls))
        return [
            times.row(
                name,
                sizes=f"seconds per network call outside the network, 1 x 1 x {self.side} x {self.side}, "
                f"{self.steps} steps, {calls} calls; the target is 100 us",
                peer=f"diffusers {installed('diffusers')} {type(scheduler).__name__}, scale_model_input and "
                "step in a bare loop",
                equal=equal,
                slower="a prediction becomes an estimate of the clean picture and back, for a control to "
                "edit it in between",
            )
        ]

    def _scheduler(self) -> Any:
        import diffusers

        config: dict[str, Any] = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
        if self.sampler in ("Ancestral", "DDIM"):
            config["clip_sample"] = False
        return getattr(diffusers, _SCHEDULERS[self.sampler])(**config, timestep_spacing="leading")


def _bends(x: Tensor, label: Tensor) -> Tensor:
    return x.sin()
