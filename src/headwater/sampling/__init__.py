"""How a piece of work is carried out, sample by sample."""

from headwater.sampling.run import Run

__all__ = ["Run"]
