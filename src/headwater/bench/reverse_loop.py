"""The reverse loop against diffusers' pipelines, on the same network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from headwater.bench.network import SHIPPED, as_diffusers, prior
from headwater.bench.row import Row
from headwater.bench.surroundings import installed
from headwater.bench.timing import agreement, alternate
from headwater.core import DDIM, Ancestral
from headwater.core.timesteps import spaced
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.sampling import Run

TOLERANCE = 1e-4


@dataclass(frozen=True)
class ReverseLoop:
    """`Prior.sample` against `DDIMPipeline` or `DDPMPipeline`: start noise, all steps, result as a tensor."""

    kind: Literal["DDIM", "DDPM"]
    steps: int
    batch: int
    pairs: int
    side: int = 32
    architecture: UNetArchitecture = SHIPPED

    def rows(self, run: Run) -> list[Row]:
        """Check that both draw the same pictures from the same noise, then time them."""
        clip = self.kind == "DDPM"
        shared = prior(self.side, clip, self.architecture)
        plan = spaced(shared.process.T, self.steps, "leading")
        sampler = Ancestral() if self.kind == "DDPM" else DDIM()
        pipeline = self._pipeline(as_diffusers(shared.network, self.side), clip)
        quiet = Run(device="cpu", seed=0, batch_size=self.batch, progress=False)

        def ours() -> Tensor:
            return shared.sample(self.batch, plan, sampler, **quiet)

        def peer(generator: Any) -> Tensor:
            return pipeline(
                batch_size=self.batch,
                generator=generator,
                num_inference_steps=self.steps,
                output_type="pt",
                return_dict=False,
            )[0]

        # A generator for each sample, as ours has, and nothing is random any more but by those seeds.
        same = peer(list(quiet.stream(self.batch).generators))
        equal = agreement((ours() / 2 + 0.5).clamp(0, 1), same, TOLERANCE, "pictures from the same noise")
        one = torch.Generator().manual_seed(0)
        name = f"{self.kind} {self.steps} steps, batch {self.batch}"
        units = (self.steps, self.steps)
        times = alternate(ours, lambda: peer(one), self.pairs, run, name, units)
        parameters = sum(p.numel() for p in shared.network.parameters()) / 1e6
        return [
            times.row(
                name,
                sizes=f"seconds per step of Prior.sample, {self.batch} x 1 x {self.side} x {self.side}, ADM "
                f"U-Net of {parameters:.1f} M parameters, fp32, estimates {'' if clip else 'not '}clipped",
                peer=f"diffusers {installed('diffusers')} {self.kind}Pipeline calling the same module, one "
                "generator, progress bar off, tensor output",
                equal=equal,
                slower="nearly all is the network, one and the same; each sample draws from a generator "
                "of its own, so that it does not depend on its neighbours",
            )
        ]

    def _pipeline(self, model: Any, clip: bool) -> Any:
        from diffusers.pipelines.ddim.pipeline_ddim import DDIMPipeline
        from diffusers.pipelines.ddpm.pipeline_ddpm import DDPMPipeline
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler
        from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

        config: dict[str, Any] = {
            "beta_schedule": "linear",
            "prediction_type": "v_prediction",
            "timestep_spacing": "leading",
            "clip_sample": clip,
        }
        if self.kind == "DDPM":
            pipeline: Any = DDPMPipeline(model, DDPMScheduler(**config))
        else:
            # The pipeline turns any scheduler into DDIM from its config.
            pipeline = DDIMPipeline(model, DDIMScheduler(**config, set_alpha_to_one=True))
        pipeline.set_progress_bar_config(disable=True)
        return pipeline
