"""Frechet distance between Gaussian fits of features of any network."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared 2-Wasserstein distance between Gaussians fitted to features (N,D) and (M,D).

    |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^1/2) (Dowson and Landau 1982; as FID, Heusel et al.
    2017, but on the features given). Only values of the same feature net and of the same sample
    sizes can be compared: the estimate is biased upward for few samples.
    Raises ValueError for fewer than two rows or different D.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError("Give features (N,D) and (M,D) of one width with at least two rows each.")
    x, y = a.detach().double(), b.detach().double()
    return frechet_of_gaussians(x.mean(0), _covariance(x), y.mean(0), _covariance(y))


def frechet_of_gaussians(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """The same from means (D,) and covariances (D,D), computed in float64; never negative."""
    root_a = _root(cov_a.double())
    # A^1/2 B A^1/2 is symmetric with the eigenvalues of A B, so eigh gives the trace of its root.
    product = root_a @ cov_b.double() @ root_a
    mixed = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0).sqrt().sum()
    shift = (mean_a.double() - mean_b.double()).square().sum()
    distance = shift + cov_a.double().trace() + cov_b.double().trace() - 2 * mixed
    return max(0.0, float(distance))


def _covariance(x: Tensor) -> Tensor:
    centred = x - x.mean(0)
    return centred.T @ centred / (len(x) - 1)


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    # Rank-deficient covariances (N < D) have eigenvalues that round to just below zero.
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
