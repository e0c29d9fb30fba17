"""How samples are drawn: the driver, what a user may choose, and how the work is carried out."""

from headwater.sampling.choices import SamplerName, guided, sampler_of, timesteps_of
from headwater.sampling.driver import Start, sample, sample_batches
from headwater.sampling.recompute import Recomputed
from headwater.sampling.run import Batch, Run, RunOptions, best_device

__all__ = [
    "Batch",
    "Recomputed",
    "Run",
    "RunOptions",
    "SamplerName",
    "Start",
    "best_device",
    "guided",
    "sample",
    "sample_batches",
    "sampler_of",
    "timesteps_of",
]
