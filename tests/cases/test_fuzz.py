"""200 odd and damaged files a reader, from a seed: the right value, or a note, or one sentence; nothing else.

What a reader returns is compared with what is in the file. Damage that no format could notice (flipped bytes
of a format without checksums) must at least give a value of the right kind or a sentence.
"""

from __future__ import annotations

import json
import logging
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cases.odd_pictures import Odd, array, label_map, mask, picture
from cases.odd_scans import kspace, volume, weights
from cases.odd_tables import table, texts
from headwater.data import open_dataset
from headwater.data.kspace import open_kspace
from headwater.data.label_maps import read_labels
from headwater.data.masks import read_mask
from headwater.data.nifti import read_volume
from headwater.data.pictures import UnreadableError, read_picture
from headwater.data.series import read_table
from headwater.data.texts import open_texts
from headwater.errors import UserError
from headwater.models import Prior, inspect
from headwater.notes import LOGGER

FILES = 200
Rng = np.random.Generator


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What readers note."""
    found = list[str]()

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    handler = Kept()
    LOGGER.addHandler(handler)
    monkeypatch.setattr(LOGGER, "propagate", False)
    yield found
    LOGGER.removeHandler(handler)


def damaged(rng: Rng, data: bytes) -> tuple[bytes, str]:
    """The file as it is, in half of the cases; else cut short, with changed bytes, a hole, or a tail."""
    way, n = int(rng.integers(8)), len(data)
    if way < 4:
        return data, ""
    if way == 4:
        return data[: int(rng.integers(n))], "cut"
    if way == 5:
        changed = bytearray(data)
        for place in rng.integers(0, n, int(rng.integers(1, 4))):
            changed[place] ^= int(rng.integers(1, 256))
        return bytes(changed), "changed"
    if way == 6:
        start = int(rng.integers(n))
        stop = min(n, start + int(rng.integers(1, 64)))
        return data[:start] + bytes(stop - start) + data[stop:], "changed"
    return data + rng.integers(0, 256, int(rng.integers(1, 20)), dtype=np.uint8).tobytes(), "longer"


def sentence(error: UserError, path: Path) -> None:
    """One line that names the file."""
    text = str(error)
    assert "\n" not in text
    assert path.name in text, text
    assert len(text) < 600, text


def slices(path: Path) -> np.ndarray:
    """All slices of a file of k-space, coils where it has none, (slices, coils, H, W)."""
    found = open_kspace(path)
    return np.stack([k.reshape(-1, *k.shape[-2:]).numpy() for k in (found[i] for i in range(len(found)))])


READERS: dict[str, tuple[Callable[[Rng], Odd], Callable[[Path, Odd], Any]]] = {
    "picture": (picture, lambda path, odd: read_picture(path, _shape(odd)).numpy()),
    "mask": (mask, lambda path, odd: read_mask(path).numpy()),
    "labels": (label_map, lambda path, odd: read_labels(path).numpy()),
    "array": (array, lambda path, odd: _all(open_dataset(path))),
    "volume": (volume, lambda path, odd: read_volume(path).values.numpy()),
    "kspace": (kspace, lambda path, odd: slices(path)),
}


def _shape(odd: Odd) -> tuple[int, int, int]:
    return (1, 8, 8) if odd.truth is None else odd.truth.shape  # type: ignore[return-value]


def _all(dataset: Any) -> np.ndarray:
    return np.stack([dataset[i].numpy() for i in range(len(dataset))])


@pytest.mark.parametrize("reader", READERS)
def test_pictures_are_right_or_refused(reader, tmp_path, notes):
    make, read = READERS[reader]
    right = 0
    for seed in range(FILES):
        rng = np.random.default_rng([seed, len(reader)])
        odd = make(rng)
        data, harm = damaged(rng, odd.data)
        path = tmp_path / f"{seed}{odd.name}"
        path.write_bytes(data)
        notes.clear()
        try:
            found = read(path, odd)
        except UserError as error:
            sentence(error, path)
            continue
        if harm == "changed" and not odd.checked:
            assert np.isfinite(found).all()
            assert found.size > 0
        elif odd.truth is None:
            assert notes or harm, (seed, odd.name, "was read without a word")
        else:
            assert found.shape == odd.truth.shape, (seed, harm)
            wrong = np.abs(np.subtract(found, odd.truth, dtype=np.result_type(found, np.float64))).max()
            assert wrong <= odd.tolerance, (seed, odd.name, harm, wrong)
            right += 1
    assert right > FILES / 4  # a reader that refuses everything is none


def test_tables_are_right_or_refused(tmp_path, notes):
    right = 0
    for seed in range(FILES):
        rng = np.random.default_rng([seed, 7])
        odd = table(rng)
        data, harm = damaged(rng, odd.data)
        path = tmp_path / f"{seed}.csv"
        path.write_bytes(data)
        try:
            found = read_table(path)
        except UserError as error:
            sentence(error, path)
            continue
        if not harm:
            assert found.columns == odd.columns, seed
            np.testing.assert_allclose(found.times - found.times[0], odd.hours, atol=1e-6, err_msg=str(seed))
            np.testing.assert_allclose(found.values, odd.values, rtol=1e-9, err_msg=str(seed))
            right += 1
    assert right > FILES / 4


def test_texts_are_right_or_refused(tmp_path, notes):
    right = 0
    for seed in range(FILES):
        rng = np.random.default_rng([seed, 8])
        odd = texts(rng)
        data, harm = damaged(rng, odd.data)
        path = tmp_path / f"{seed}{odd.name}"
        path.write_bytes(data)
        try:
            source = open_texts(path)
            found = [source[i] for i in range(len(source))]
        except UserError as error:
            sentence(error, path)
            continue
        if not harm:
            same = [unicodedata.normalize("NFC", str(t)) for t in found]
            assert same == [unicodedata.normalize("NFC", t) for t in odd.texts], seed
            right += 1
    assert right > FILES / 4


def test_weights_are_described_or_refused(tmp_path):
    described = 0
    for seed in range(FILES):
        rng = np.random.default_rng([seed, 9])
        name, data = weights(rng)
        data, harm = damaged(rng, data)
        path = tmp_path / f"{seed}{name}"
        path.write_bytes(data)
        try:
            report = inspect(path)
        except UserError as error:
            sentence(error, path)
            continue
        assert report.tensors >= 0
        assert str(report)
        described += not harm
    assert described > FILES / 4


def test_a_description_of_a_pipeline_is_read_or_refused(tmp_path):
    """Values of other types, signs and sizes in the files that describe a diffusers folder."""
    good = {
        "unet/config.json": {
            "_class_name": "UNet2DModel", "sample_size": 8, "in_channels": 1, "out_channels": 1,
            "block_out_channels": [32], "layers_per_block": 1, "down_block_types": ["DownBlock2D"],
            "up_block_types": ["UpBlock2D"],
        },
        "scheduler/scheduler_config.json": {
            "_class_name": "DDPMScheduler", "num_train_timesteps": 20, "beta_schedule": "linear",
            "beta_start": 1e-4, "beta_end": 0.02, "prediction_type": "epsilon", "clip_sample": True,
        },
    }  # fmt: skip
    odd = (None, -1, 0, 1.5, "x", [], [1, 2], {}, True, 10**9, 1e300, "\u0000", ["a", 3])
    for seed in range(FILES):
        rng = np.random.default_rng([seed, 10])
        folder = tmp_path / str(seed)
        place = list(good)[int(rng.integers(2))]
        for name, values in good.items():
            (folder / name).parent.mkdir(parents=True)
            values = dict(values)
            if name == place:
                key = list(values)[int(rng.integers(len(values)))]
                values[key] = odd[int(rng.integers(len(odd)))]
                if rng.integers(6) == 0:
                    del values[key]
            (folder / name).write_text(json.dumps(values))
        index = {"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"]}
        index["scheduler"] = ["diffusers", "DDPMScheduler"]
        (folder / "model_index.json").write_text(json.dumps(index))
        (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
        with pytest.raises(UserError) as caught:  # it holds no weights, whatever its description says
            Prior.from_pretrained(folder)
        assert "\n" not in str(caught.value)


def test_refusals_are_of_one_kind():
    assert issubclass(UnreadableError, UserError)
