"""A prior comes back from its folder as it went in, and a damaged folder is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from headwater.core import network_calls
from headwater.errors import UserError
from headwater.models import Prior, PriorConfig, ProcessConfig
from headwater.nets.adm import UNet, UNetConfig

NETWORK = {
    "kind": "adm",
    "in_channels": 1,
    "model_channels": 32,
    "out_channels": 1,
    "num_res_blocks": 1,
    "attention_resolutions": [2],
    "channel_mult": [1, 2],
    "use_scale_shift_norm": True,
}


def make(seed: int = 0, **config) -> Prior:
    torch.manual_seed(seed)
    network = UNet(UNetConfig(**{k: v for k, v in NETWORK.items() if k != "kind"}))
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.05)
    about = {"name": "Test", "licence": "CC0-1.0", "metrics": {"fid": 3.14159}}
    process = ProcessConfig(T=20, betas="cosine")
    return Prior(network.eval(), PriorConfig(NETWORK, (1, 8, 8), process, about=about, **config))


def answer(prior: Prior) -> torch.Tensor:
    torch.manual_seed(1)
    with torch.no_grad():
        return prior.network(torch.randn(2, 1, 8, 8), torch.tensor([3, 19]))


def test_round_trip_is_exact(tmp_path: Path) -> None:
    prior = make(classes=("a", "b"))
    prior.save_pretrained(tmp_path / "p")
    back = Prior.from_pretrained(tmp_path / "p")
    assert torch.equal(answer(prior), answer(back))
    assert back.config.shape == (1, 8, 8)
    assert back.config.classes == ("a", "b")
    assert back.config.process == prior.config.process
    assert not back.network.training
    assert len(back.hash) == 64
    assert sorted(p.name for p in (tmp_path / "p").iterdir()) == [
        "README.md",
        "config.json",
        "manifest.json",
        "model.safetensors",
    ]
    assert "CC0-1.0" in (tmp_path / "p" / "README.md").read_text()


def test_a_network_that_is_told_no_level_stays_so(tmp_path: Path) -> None:
    told = make()
    prior = Prior(told.network, replace(told.config, process=replace(told.config.process, unit_labels=True)))
    prior.save_pretrained(tmp_path / "p")
    back = Prior.from_pretrained(tmp_path / "p")
    assert back.config.process.unit_labels
    assert back.described()["Process"].endswith("unit labels")
    assert torch.equal(back.process.sigma, told.process.sigma)
    x = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        low, high = (back.denoiser(x, t).eps for t in (3, 19))
    torch.testing.assert_close(low, high)


def test_half_storage_is_read_as_float32(tmp_path: Path) -> None:
    prior = make()
    prior.save_pretrained(tmp_path / "p", dtype=torch.float16)
    prior.save_pretrained(tmp_path / "q")
    back = Prior.from_pretrained(tmp_path / "p")
    assert all(p.dtype == torch.float32 for p in back.network.parameters())
    assert (answer(prior) - answer(back)).abs().max() < 2e-3 * answer(prior).abs().max()
    sizes = [(tmp_path / f / "model.safetensors").stat().st_size for f in "pq"]
    assert sizes[0] < 0.6 * sizes[1]


def test_weights_that_half_cannot_hold_are_refused(tmp_path: Path) -> None:
    prior = make()
    next(prior.network.parameters()).data[:] = 1e6
    with pytest.raises(UserError, match="does not fit"):
        prior.save_pretrained(tmp_path / "p", dtype=torch.float16)
    assert not list(tmp_path.iterdir())


def edit(folder: Path, **changes) -> None:
    """Change config.json and make the manifest agree, so that the schema alone can object."""
    from headwater.atomic import written_aside

    config = json.loads((folder / "config.json").read_text())
    weights = (folder / "model.safetensors").read_bytes()
    for key, value in changes.items():
        *path, last = key.split("__")
        inner = config
        for step in path:
            inner = inner[step]
        inner[last] = value
    with written_aside(folder) as tmp:
        (tmp / "config.json").write_text(json.dumps(config))
        (tmp / "model.safetensors").write_bytes(weights)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config__shap": 1}, "unknown field 'shap': did you mean 'shape'"),
        ({"config__process__beta": "x"}, "did you mean 'betas'"),
        ({"config__network__chanel_mult": [1]}, "did you mean 'channel_mult'"),
        ({"config__network__kind": "os.system"}, "unknown network"),
        ({"config__network__model_channels": "32"}, "type int"),
        ({"config__network__model_channels": True}, "type int"),
        ({"config__network__model_channels": 1 << 40}, "wide or deep"),
        ({"config__network__num_res_blocks": 1 << 40}, "wide or deep"),
        ({"config__network__model_channels": 64}, "does not fit"),
        ({"config__shape": [1, 8]}, "give 3"),
        ({"config__predicts": "score2"}, "choose one of"),
        ({"format": 99}, "upgrade"),
        ({"config__noise": {"kind": "wite"}}, "did you mean 'white'"),
        ({"config__process__betas": "liner"}, "unknown schedule"),
        ({"config__process__T": 1 << 40}, "process"),
        ({"config__clip": 1}, "type bool"),
    ],
)
def test_configs_are_a_closed_set(tmp_path: Path, changes: dict, message: str) -> None:
    make().save_pretrained(tmp_path / "p")
    edit(tmp_path / "p", **changes)
    with pytest.raises(ValueError, match=message) as caught:
        _ = Prior.from_pretrained(tmp_path / "p").process, Prior.from_pretrained(tmp_path / "p").noise
    assert len(str(caught.value)) < 600


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    make().save_pretrained(tmp_path / "p")
    path = tmp_path / "p" / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(raw)
    with pytest.raises(UserError, match="not the file that was written"):
        Prior.from_pretrained(tmp_path / "p")


@pytest.mark.parametrize(
    ("noise", "law"),
    [
        ({"kind": "white"}, "White"),
        ({"kind": "simplex", "octaves": 3, "wavelength": 32}, "Simplex"),
        ({"kind": "power-law", "persistence": 0.5}, "PowerLaw"),
        ({"kind": "truncated"}, "Truncated"),
    ],
)
def test_noise_laws_come_back(tmp_path: Path, noise: dict, law: str) -> None:
    make(noise=noise).save_pretrained(tmp_path / "p")
    found = Prior.from_pretrained(tmp_path / "p").noise
    assert type(found).__name__ == law
    assert all(getattr(found, k) == v for k, v in noise.items() if k != "kind")


def test_the_economical_walk_fits_any_number_of_levels() -> None:
    for name, calls in (("digits", 50), ("brain", 50)):
        prior = Prior.from_pretrained(name)
        plan, sampler = prior.economical
        assert network_calls(sampler.plan(plan)) == calls
        assert (plan[0], plan[-2:]) == (prior.process.T, [1, 0])
    short = replace(prior.config, process=ProcessConfig(T=8, betas="cosine"))
    assert len(Prior(prior.network, short).economical[0]) == 9
