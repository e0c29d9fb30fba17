"""Simplex noise whose parameters are drawn anew for every field, or white noise in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from headwater.noise.laws import Noise, White, check_batch, check_octaves
from headwater.noise.simplex import Simplex

_HALVINGS = 4
"""Longest wavelengths that are drawn: the first one, and how often it is halved."""
_LEAST = 0.6
"""Share of the largest persistence that is drawn at least, in two steps."""


@final
@dataclass(frozen=True)
class RandomSimplex(Noise):
    """For each sample and draw a law of its own: white noise with probability `white`, else `Simplex` with
    parameters that are drawn evenly (AnoDDPM's code has both, as "random" and "simplex_randParam").

        octaves from 1, 2, .. octaves;   persistence from 0.6, 0.8 and 1 times persistence
        wavelength from wavelength, wavelength / 2, / 4 and / 8 pixels

    Deviates from it: parameters are spread evenly where it has a list of some twenty combinations, all
    channels of a sample share them, and they count (there the fixed ones overwrite them).

    >>> hw.RandomSimplex(octaves=3, wavelength=16.0).stream([7])(torch.empty(1, 1, 32, 32)).shape
    torch.Size([1, 1, 32, 32])
    """

    octaves: int = 6
    """Largest number of frequencies."""
    persistence: float = 0.8
    """Largest amplitude of an octave relative to the one before."""
    wavelength: float = 64.0
    """Largest wavelength of the first octave in pixels."""
    white: float = 0.0
    """Probability of white noise, from 0 to 1."""
    scale: Literal["raw", "unit"] = "raw"
    """As in `Simplex`; white noise has a standard deviation of 1 in any case."""

    def __post_init__(self) -> None:
        check_octaves(self.octaves, self.persistence, self.wavelength)
        Simplex(scale=self.scale)
        if not 0 <= self.white <= 1:
            raise ValueError(f"white is {self.white}: give a probability from 0 to 1.")

    def draw(self, like: Tensor, generators: Sequence[torch.Generator], level: int | Tensor = 0) -> Tensor:
        """As `Noise.draw`, for pictures; every sample builds a map of its own, some milliseconds at 64x64."""
        check_batch(like, generators)
        out, levels = torch.empty_like(like), torch.as_tensor(level).expand(len(like))
        for i, generator in enumerate(generators):
            out[i : i + 1] = self._law(generator).draw(like[i : i + 1], [generator], levels[i : i + 1])
        return out

    def _law(self, generator: torch.Generator) -> Noise:
        """The law of one sample's next field."""
        kind, octaves, persistence, halvings = torch.rand(
            4, generator=generator, dtype=torch.float64
        ).tolist()
        if kind < self.white:
            return White()
        share = _LEAST + (1 - _LEAST) * int(3 * persistence) / 2
        return Simplex(
            1 + int(octaves * self.octaves),
            share * self.persistence,
            self.wavelength / 2 ** int(halvings * _HALVINGS),
            self.scale,
        )
