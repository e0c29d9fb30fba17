"""Volumes, k-space and weights as scanners and programs write them, each with what must be found in it."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import struct
from typing import Any

import h5py
import nibabel
import numpy as np
import torch

from cases.odd_pictures import Odd

Rng = np.random.Generator
Array = np.ndarray
_SAFETENSORS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
_TYPES = (np.uint8, np.int16, np.float32, np.float64, np.dtype(">i2"), np.uint16)


def volume(rng: Rng) -> Odd:
    """A NIfTI volume in any order and hand of axes: truth (X, Y, Z), to right, anterior, superior."""
    shape = tuple(int(n) for n in rng.integers(3, 9, 3))
    truth = rng.integers(0, 200, shape).astype(np.float64)
    orders = list(itertools.permutations(range(3)))
    order = orders[int(rng.integers(6))]
    stored, affine = truth.transpose(order), np.zeros((4, 4))
    for axis, world in enumerate(order):
        affine[world, axis] = 1.0 + float(rng.integers(3))
        if rng.integers(2):
            stored, affine[world, axis] = np.flip(stored, axis), -affine[world, axis]
            affine[world, 3] = -affine[world, axis] * (stored.shape[axis] - 1)
    affine[3, 3] = 1
    way = int(rng.integers(8))
    if way == 0:
        stored = stored[..., None]
    if way == 1:  # two volumes in a file
        return Odd("v.nii", _nifti(np.stack([stored, stored], -1).astype(np.float32), affine), None)
    if way == 2:
        return Odd("v.nii", _nifti((stored * 1j).astype(np.complex64), affine), None)
    kind = _TYPES[int(rng.integers(len(_TYPES)))]
    data, packed = _nifti(stored.astype(kind), affine), bool(rng.integers(2))
    name = "v.NII.GZ" if packed else "v.nii"
    return Odd(name, gzip.compress(data, mtime=0) if packed else data, truth, checked=packed)


def _nifti(values: Array, affine: Array) -> bytes:
    kind = (nibabel.Nifti1Image, nibabel.Nifti2Image)[values.size % 2]
    return kind(np.ascontiguousarray(values), affine).to_bytes()


def kspace(rng: Rng) -> Odd:
    """Slices of k-space: truth (slices, coils, H, W), whatever axes the file leaves out."""
    slices, coils = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    height, width = (int(n) for n in rng.integers(10, 16, 2))
    truth = rng.normal(size=(slices, coils, height, width)) + 1j * rng.normal(
        size=(slices, coils, height, width)
    )
    kind = ("<c8", ">c8", "c16")[int(rng.integers(3))]
    way = int(rng.integers(5))
    if way < 2:
        truth = truth[:1]
        stored = truth[0, 0] if coils == 1 else truth[0]
        return Odd("k.npy", _npy(stored.astype(kind)), truth.astype(np.complex64), 1e-6)
    if way == 2:
        parts = np.stack([truth[0].real, truth[0].imag], -1).astype(np.float32)
        return Odd("k.npy", _npy(parts), None)  # pairs of real numbers: read, and said to be
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        stored = truth[:, 0] if coils == 1 else truth
        file.create_dataset("kspace", data=stored.astype(kind), compression="gzip" if way == 3 else None)
        if rng.integers(2):
            file["reconstruction_rss"] = np.abs(truth[:, 0])
    return Odd("k.H5", out.getvalue(), truth.astype(np.complex64), 1e-6)


def _npy(values: Array) -> bytes:
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


def weights(rng: Rng) -> tuple[str, bytes]:
    """A weights file of a few tensors, by torch or by safetensors, plain, nested or of odd types."""
    kinds = (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool)
    state: dict[str, Any] = {
        f"layer.{i}.weight": torch.zeros(tuple(rng.integers(1, 4, 2))).to(
            kinds[int(rng.integers(len(kinds)))]
        )
        for i in range(int(rng.integers(1, 4)))
    }
    if rng.integers(3) == 0:
        state = {("state_dict", "model", "ema")[int(rng.integers(3))]: state, "step": 3}
    out = io.BytesIO()
    if rng.integers(2) and all(isinstance(v, torch.Tensor) for v in state.values()):
        entries, place, data = dict[str, Any](), 0, b""
        for name, value in state.items():
            raw = value.contiguous().view(torch.uint8).numpy().tobytes() if value.dtype != torch.bool else b""
            kind = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
            kind = kind.get(value.dtype, "BOOL")
            entries[name] = {
                "dtype": kind,
                "shape": list(value.shape),
                "data_offsets": [place, place + len(raw)],
            }
            place, data = place + len(raw), data + raw
        head = json.dumps(entries).encode()
        return "w.safetensors", struct.pack("<Q", len(head)) + head + data
    torch.save(state, out)
    return ("w.pt", "w.pth", "w.bin")[int(rng.integers(3))], out.getvalue()
