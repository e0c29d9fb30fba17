"""The algebra: process, denoiser, sampler, control, plan, noise. Depends on torch alone."""

from headwater.core.codec import Codec, Embedding, Identity, Nearest
from headwater.core.control import Clip, Control, DynamicThreshold
from headwater.core.denoiser import Denoiser, Denoises, Preconditioned, Prediction
from headwater.core.discrete import Discrete
from headwater.core.guidance import ClassifierFree, ClassifierMean, ClassifierScore
from headwater.core.noise import Noise, Stream, White
from headwater.core.plan import below, descend, jumps, network_calls, respaced, through
from headwater.core.process import SDE, Diffusion
from headwater.core.recompute import Recomputed
from headwater.core.reverse import Step, last, reverse
from headwater.core.sampler import (
    DDIM,
    Ancestral,
    DPMSolver,
    FlowODE,
    Heun,
    Langevin,
    PredictorCorrector,
    ReverseSDE,
    Sampler,
)
from headwater.core.transition import Categorical, Gaussian, Level, NoiseSource

__all__ = [
    "DDIM",
    "SDE",
    "Ancestral",
    "Categorical",
    "ClassifierFree",
    "ClassifierMean",
    "ClassifierScore",
    "Clip",
    "Codec",
    "Control",
    "DPMSolver",
    "Denoiser",
    "Denoises",
    "Diffusion",
    "Discrete",
    "DynamicThreshold",
    "Embedding",
    "FlowODE",
    "Gaussian",
    "Heun",
    "Identity",
    "Langevin",
    "Level",
    "Nearest",
    "Noise",
    "NoiseSource",
    "Preconditioned",
    "Prediction",
    "PredictorCorrector",
    "Recomputed",
    "ReverseSDE",
    "Sampler",
    "Step",
    "Stream",
    "White",
    "below",
    "descend",
    "jumps",
    "last",
    "network_calls",
    "respaced",
    "reverse",
    "through",
]
