"""One number for what tensors, texts and what holds them are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from headwater.digest import digest


@dataclass
class Pair:
    one: torch.Tensor
    name: str


def test_what_is_held_decides_and_the_order_of_names_does_not() -> None:
    long = torch.arange(5000.0)
    other = long.clone()
    other[2500] = -1  # where what is printed of it has dots
    assert digest({"a": long, "b": "x"}) == digest({"b": "x", "a": long.clone()})
    assert digest({"a": long}) != digest({"a": other})
    assert digest({"a": long}) != digest({"b": long})
    assert digest([Pair(long, "x")]) != digest([Pair(other, "x")])
    assert digest(long) == digest(long.numpy())
    assert digest(long) != digest(long.reshape(50, 100))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.int64, torch.bool, torch.complex64])
def test_every_type_of_number_counts(kind: torch.dtype) -> None:
    value = torch.tensor([0.0, 1.0, 3.0]).to(kind)
    assert digest({"a": value}) == digest({"a": value.clone()})
    assert digest({"a": value}) != digest({"a": torch.zeros(3, dtype=kind)})
    assert digest({"a": value}) != digest({"a": value.double() if kind != torch.complex64 else value.abs()})
    assert digest(np.zeros(3)) != digest(np.zeros(4))
