"""AnoDDPM against the arrays of its reference code: same weights, same seeds, same pictures.

What it is made of (network, process, bound, losses, single steps) is compared in tests/parity.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from anoddpm_reference import FILES, Tape, denoiser
from arrays import close
from closed_form import prior_of
from headwater.controls import Clip
from headwater.methods.anomaly.anoddpm.method import AnoDDPM
from headwater.noise import Noise


@pytest.mark.parametrize("name", ["simplex_simplex", "simplex_gauss", "gauss_gauss"])
@pytest.mark.parametrize("file", FILES)
def test_reconstruction_and_map_are_the_references(golden: Any, file: str, name: str) -> None:
    ref = golden(f"anoddpm/{file}")
    image, tape = ref["in/x0"], Tape(ref.under(f"noise/forward_backward_{name}").values())
    law = cast(Noise, SimpleNamespace(stream=lambda seeds: tape))
    prior = prior_of(denoiser(ref), law, [Clip()])
    found = AnoDDPM(ref.config["lambda"]).apply(prior, image, progress=False, device="cpu")
    wanted = ref[f"out/forward_backward/{name}/seq"][-1]
    close(found.reconstruction, wanted, atol=1e-4)
    close(found.map, (image - wanted).square().mean(1, keepdim=True), atol=4e-4)
