"""Words as vectors, and estimates that are rounded to them."""

from __future__ import annotations

import torch

from headwater.codecs import Embedding
from headwater.controls import Nearest
from headwater.core import Prediction


def test_nearest_word_vectors_and_the_likeliest_word_differ() -> None:
    table = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
    codec = Embedding(table)
    x = torch.tensor([[[1.2, 0.1], [2.5, 0.0], [0.1, 2.0]]])
    assert codec.nearest(x).tolist() == [[0, 1, 2]]
    assert codec.decode(x).tolist() == [[1, 1, 2]]  # the longest vector attracts
    nats = codec.nats(x, torch.tensor([[1, 1, 2]]))
    torch.testing.assert_close(nats, -(x @ table.T).softmax(-1).max(-1).values.log())
    pred = Prediction(x, 3, x, torch.zeros(1))
    assert torch.equal(Nearest(codec).denoised(pred).x0, table[[0, 1, 2]][None])
    assert Nearest(codec, low=4).denoised(pred) is pred
    assert Nearest(codec, high=2).denoised(pred) is pred
