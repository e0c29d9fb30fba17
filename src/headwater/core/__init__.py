"""The algebra: process, denoiser, sampler, control, timesteps, loop. Depends on torch alone."""

from headwater.core.control import Control
from headwater.core.denoiser import Denoiser
from headwater.core.guidance import ClassifierFree, ClassifierMean, ClassifierScore
from headwater.core.loop import Step, last, reverse
from headwater.core.prediction import Denoises, Prediction
from headwater.core.process import SDE, Diffusion
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
from headwater.core.timesteps import below, descend, jumps, network_calls, respaced, through
from headwater.core.transition import Gaussian, Level, NoiseSource

__all__ = [
    "DDIM",
    "SDE",
    "Ancestral",
    "ClassifierFree",
    "ClassifierMean",
    "ClassifierScore",
    "Control",
    "DPMSolver",
    "Denoiser",
    "Denoises",
    "Diffusion",
    "FlowODE",
    "Gaussian",
    "Heun",
    "Langevin",
    "Level",
    "NoiseSource",
    "Prediction",
    "PredictorCorrector",
    "ReverseSDE",
    "Sampler",
    "Step",
    "below",
    "descend",
    "jumps",
    "last",
    "network_calls",
    "respaced",
    "reverse",
    "through",
]
