"""Grey values between pictures and numbers."""

from __future__ import annotations

import torch

from headwater.nets.categorical_unet import centred, quantised


def test_quantising_is_nearest_and_undone_on_its_values() -> None:
    values = torch.arange(17)
    assert torch.equal(quantised(centred(values, 17), 17), values)
    assert quantised(torch.tensor([-3.0, 0.05, 3.0]), 17).tolist() == [0, 8, 16]
