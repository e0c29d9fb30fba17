"""Clusters of points that lie far apart, and of points that cannot be told apart."""

from __future__ import annotations

import torch

from headwater.metrics.clusters import kmeans


def test_clusters_are_found_and_numbered_by_size() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    truth = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    points = centres[truth] + torch.randn(100, 2, generator=generator)
    assert torch.equal(kmeans(points, 3, torch.Generator().manual_seed(1)), truth)
    assert kmeans(torch.zeros(5, 2), 3, generator).eq(0).all()
