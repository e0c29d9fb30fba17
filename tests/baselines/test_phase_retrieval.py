"""Phase retrieval without a prior: it explains what was measured, and finds small pictures."""

from __future__ import annotations

import torch

from headwater.baselines.phase_retrieval import hybrid_input_output
from headwater.metrics.image import psnr
from headwater.operators import PhaseRetrieval


def test_it_finds_pictures_but_for_turns_and_shifts() -> None:
    """It may stay where other magnitudes are nearly as good, from which only more starts help."""
    truth = torch.rand(6, 1, 6, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    a = PhaseRetrieval()
    y = a.forward(truth)
    found = hybrid_input_output(y, (6, 8), seed=0, iterations=400)
    assert found.shape == truth.shape
    assert float(a.residual(found, y).max()) < 0.03
    assert int((psnr(a.aligned(found, truth), truth) > 40).sum()) >= 3


def test_more_starts_explain_no_less_and_rows_do_not_matter_to_each_other() -> None:
    truth = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    a = PhaseRetrieval()
    y = a.forward(truth)
    one, many = (hybrid_input_output(y, (8, 8), 0, n, 60) for n in (1, 4))
    assert bool((a.residual(many, y) <= a.residual(one, y) + 1e-6).all())
    assert torch.equal(one, hybrid_input_output(y, (8, 8), 0, 1, 60))
