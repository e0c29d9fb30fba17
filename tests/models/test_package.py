"""Importing the package costs next to nothing; its names come when they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import headwater


def test_import_loads_no_torch() -> None:
    code = (
        "import sys, headwater; dir(headwater)\n"
        "heavy = {'torch', 'numpy', 'PIL', 'tqdm', 'importlib.metadata', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there() -> None:
    for name in headwater.__all__:
        assert getattr(headwater, name) is not None
        assert name in dir(headwater)
    assert headwater.__version__.count(".") >= 1


def test_unknown_names_are_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Priors'"):
        _ = headwater.Priors
