"""Files in the published layouts: recognised, read with what goes with them, refused where no priors.

Networks here are thin ones with the published ones' paths; the true sizes are `headwater bench --full`'s.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from headwater import cli
from headwater.core import Diffusion
from headwater.errors import UserError
from headwater.methods.robustness.diffpure.method import DiffPure
from headwater.models import Prior, PriorConfig, ProcessConfig, convert, inspect, published
from headwater.models.published import built, chain_of, load_published, published_names
from headwater.nets.adm import UNet, UNetConfig
from headwater.nets.adm_classifier import Classifier
from headwater.nets.adm_published import CLASSIFIERS, UNETS
from headwater.nets.ncsnpp import DDPMPP, NCSNpp, NCSNppConfig

THIN = replace(UNETS["256x256_diffusion_uncond"], model_channels=32, num_head_channels=32)
VP = replace(DDPMPP, image_size=16, nf=8, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(8,))
VE = NCSNppConfig(32, 3, 8, (1, 2), 1, (16,))


def drawn(network: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Weights that let every branch say something, and answers of about 1."""
    torch.manual_seed(seed)
    return {
        name: 1 + 0.1 * torch.randn_like(v)
        if v.ndim == 1 and name.endswith("weight")
        else torch.randn_like(v) * (v[0].numel() ** -0.5 if v.ndim > 1 else 0.1)
        for name, v in network.state_dict().items()
        if name != "sigmas"
    }


def filled(config: published.Published, seed: int = 0) -> nn.Module:
    network = built(config)
    network.load_state_dict(drawn(network, seed), strict=False)
    return network.eval()


@pytest.fixture(scope="module")
def thin() -> nn.Module:
    return filled(THIN)


@torch.no_grad()
def answer(network: nn.Module, side: int = 64) -> Tensor:
    torch.manual_seed(1)
    return network(torch.randn(2, 3, side, side), torch.tensor([10.0, 700.0]))


# --- guided diffusion -------------------------------------------------------------------------------------


def test_inspect_convert_and_a_forward_in_the_published_layout(tmp_path: Path, thin: nn.Module) -> None:
    torch.save(thin.state_dict(), tmp_path / "uncond.pt")
    heads: dict[str, Any] = {"num_head_channels": 32}
    report = inspect(tmp_path / "uncond.pt")
    assert (report.format, report.config.shape) == ("guided-diffusion weights", (3, 256, 256))  # pyright: ignore[reportOptionalMemberAccess]
    convert(tmp_path / "uncond.pt", tmp_path / "ours", **heads)
    convert(tmp_path / "ours", tmp_path / "back.pt", to="adm")
    for where in (tmp_path / "ours", tmp_path / "back.pt"):
        told: dict[str, Any] = heads if where.suffix else {}
        assert torch.equal(answer(Prior.from_pretrained(where, **told).network), answer(thin))


def test_channels_last_and_bf16_agree_with_float32(thin: nn.Module) -> None:
    """Relative to the largest answer: 1e-5, and 5e-2 for numbers of 8 bits through 40 blocks."""
    exact = answer(thin)
    scale = exact.abs().max()
    last = filled(THIN).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    assert (answer(last) - exact).abs().max() <= 1e-5 * scale
    rounded = answer(last.to(torch.bfloat16))
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() <= 5e-2 * scale


def test_published_structures_are_named_with_what_goes_with_them() -> None:
    same = (
        "256x256_diffusion_uncond",
        "lsun_bedroom",
        "lsun_cat",
        "lsun_horse",
        "lsun_horse_nodropout",
        "ffhq",
    )
    assert published_names(UNETS["lsun_cat"]) == same
    assert published_names(THIN) == ()
    assert chain_of(UNETS["64x64_diffusion"]) == ProcessConfig(betas="cosine")
    assert chain_of(UNETS["128x128_diffusion"]) == chain_of(THIN) == ProcessConfig()


@pytest.mark.parametrize(
    ("table", "name", "words"),
    [(UNETS, "64_256_upsampler", "enlarges"), (CLASSIFIERS, "64x64_classifier", "classifier")],
)
def test_what_is_no_prior_is_said_and_can_be_read_as_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: dict[str, Any], name: str, words: str
) -> None:
    slim = replace(table[name], model_channels=64, num_res_blocks=1, num_heads=1, num_head_channels=64)
    monkeypatch.setitem(table, name, slim)
    monkeypatch.setitem(published.NETWORKS, name, slim)
    network = filled(slim)
    torch.save(network.state_dict(), tmp_path / "x.pt")
    report = inspect(tmp_path / "x.pt")
    assert report.config is None
    assert words in report.remark
    if name in UNETS:
        assert name in report.published
    with pytest.raises(UserError, match=f"{words}.*load_published"):
        Prior.from_pretrained(tmp_path / "x.pt")
    back = load_published(name, tmp_path / "x.pt")
    assert isinstance(back, UNet | Classifier)
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in back.state_dict().items())
    with pytest.raises(UserError, match=r"is not 256x256_diffusion \("):
        load_published("256x256_diffusion", tmp_path / "x.pt")
    with pytest.raises(UserError, match="did you mean '64x64_classifier'"):
        load_published("64x64_clasifier", tmp_path / "x.pt")


def test_classes_without_names_are_sampled_by_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled = UNetConfig(3, 32, 6, 1, (), channel_mult=(1, 2, 2, 2), num_classes=10, resblock_updown=True)
    torch.save(filled(labelled).state_dict(), tmp_path / "x.pt")
    asked = ["sample", str(tmp_path / "x.pt"), "--n", "1", "--steps", "2"]
    assert cli.main([*asked, "--label", "7", "--out", str(tmp_path / "seven")]) == cli.DONE
    assert len(list((tmp_path / "seven" / "pictures").iterdir())) == 1
    for words, told in (([], "10 classes"), (["--label", "10"], "give 0 to 9")):
        assert cli.main([*asked, *words, "--out", str(tmp_path / "none")]) != cli.DONE
        assert told in capsys.readouterr().err
    # A class that is chosen for good is drawn, and given to methods, which name none.
    assert cli.main(["convert", asked[1], str(tmp_path / "chosen"), "--label", "7"]) == cli.DONE
    words = ["sample", str(tmp_path / "chosen"), "--n", "1", "--steps", "2", "--out", str(tmp_path / "again")]
    assert cli.main(words) == cli.DONE
    one, other = ((tmp_path / d / "pictures" / "00000.png").read_bytes() for d in ("seven", "again"))
    assert one == other
    with pytest.raises(UserError, match="classes 0 to 9"):
        Prior.from_pretrained(asked[1], label=10)
    with pytest.raises(UserError, match="knows no classes"):
        PriorConfig({"kind": "adm"}, (3, 32, 32), label=0)


def test_a_network_with_a_number_for_hidden_classes_is_told_that() -> None:
    for count, told in ((4, 3), (3, None)):
        config = PriorConfig({"kind": "adm", "num_classes": count}, (3, 8, 8), classes=("a", "b", "c"))
        assert config.told == told
        assert replace(config, label=1).told == 1


def test_a_process_that_does_not_explode_is_no_process_of_pictures_between_0_and_1() -> None:
    config = PriorConfig({"kind": "ncsnpp"}, (1, 8, 8), predicts="score")
    with pytest.raises(UserError, match="set centred to true"):
        config.denoiser(nn.Identity())


# --- score networks ---------------------------------------------------------------------------------------


def checkpoint(network: nn.Module, averages: dict[str, Tensor], **more: Any) -> dict[str, Any]:
    """As score-SDE's trainer saves: raw weights under `module.`, averages as a list of what is trained."""
    trained = {k for k, p in network.named_parameters() if p.requires_grad}
    return {
        "optimizer": {"state": {0: {"step": 3, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 2e-4}]},
        "model": {f"module.{k}": v for k, v in network.state_dict().items()},
        "ema": {
            "decay": 0.9999,
            "num_updates": 3,
            "shadow_params": [averages[k] for k in network.state_dict() if k in trained],
        },
        "step": 3,
        **more,
    }


def saved(tmp_path: Path, config: NCSNppConfig, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, nn.Module]:
    """A checkpoint of a thin score network that counts as published, and the network with its averages."""
    monkeypatch.setitem(published.SCORE_NETWORKS, "thin", config)
    monkeypatch.setitem(published._LARGEST_SIGMA, config.image_size, (20, 50.0))
    raw = filled(config)
    averages = drawn(raw, seed=5)
    path = tmp_path / "checkpoint_8.pth"
    torch.save(checkpoint(raw, averages), path)
    known = raw.state_dict()
    raw.load_state_dict(
        {**averages, "sigmas": known["sigmas"]} | {k: v for k, v in known.items() if k == "all_modules.0.W"}
    )
    return path, raw


@pytest.mark.parametrize("config", [VP, VE], ids=["DDPM++", "NCSN++"])
def test_score_networks_are_read_with_their_averaged_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: NCSNppConfig
) -> None:
    path, network = saved(tmp_path, config, monkeypatch)
    prior = Prior.from_pretrained(path)
    assert torch.equal(answer(prior.network, config.image_size), answer(network, config.image_size))
    report = inspect(path)
    assert (report.format, report.nest) == ("score-SDE weights", "model")
    assert report.network == {"kind": "ncsnpp", **asdict(config)}
    convert(path, tmp_path / "ours")
    again = Prior.from_pretrained(tmp_path / "ours")
    assert torch.equal(answer(again.network, config.image_size), answer(network, config.image_size))
    assert again.config.process == prior.config.process
    with pytest.raises(UserError, match="only our own folders"):
        convert(path, tmp_path / "x.pt", to="adm")


def test_ddpmpp_walks_the_paper_s_sde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, network = saved(tmp_path, VP, monkeypatch)
    prior = Prior.from_pretrained(path, T=200)
    q = prior.process
    assert q.T == 200
    torch.testing.assert_close(q.alpha, Diffusion.vp_sde(torch.arange(1, 201).double() / 200).alpha)
    # DiffPure's sheet: signal 0.8963 at t* = 0.1, the network told 999 t and answering -std times the score.
    level = 20
    assert f"{q.alpha[level] ** 2:.4f}" == "0.8963"
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        score = -network(x, torch.full((2,), 99.9)) / q.sigma[level].float()
        torch.testing.assert_close(prior.denoiser(x, level).score, score, rtol=1e-3, atol=1e-3)
    washed = DiffPure(level=20, steps=2).apply(prior, x.clamp(-1, 1), progress=False)
    assert washed.shape == x.shape
    assert washed.isfinite().all()


def test_ncsnpp_of_pictures_between_0_and_1_serves_those_between_minus_1_and_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, network = saved(tmp_path, VE, monkeypatch)
    prior = Prior.from_pretrained(path)
    q = prior.process
    assert (q.T, f"{q.sigma[1]:.3f}", f"{q.sigma[-1]:.1f}") == (20, "0.020", "100.0")
    assert not prior.config.clip
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        wanted = network(x, q.label[7].float().expand(2))
        torch.testing.assert_close(prior.denoiser(2 * x - 1, 7).score, wanted / 2, rtol=1e-3, atol=1e-3)
    assert f"{q.label[7] * 2 / q.sigma[7]:.6f}" == "1.000000"


def test_averages_of_another_network_are_refused(tmp_path: Path) -> None:
    raw = filled(VP)
    state = checkpoint(raw, drawn(raw))
    state["ema"]["shadow_params"].append(torch.zeros(7))
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(UserError, match="averages other weights"):
        inspect(tmp_path / "x.pth")


def test_a_score_network_that_nobody_published_is_not_guessed(tmp_path: Path) -> None:
    torch.save(NCSNpp(VP).state_dict(), tmp_path / "x.pth")
    assert inspect(tmp_path / "x.pth").format == "other weights"
    with pytest.raises(UserError, match="no guided-diffusion network"):
        Prior.from_pretrained(tmp_path / "x.pth")


def test_every_published_score_network_has_a_prior() -> None:
    shapes = {name: published.score_prior(config).shape for name, config in published.SCORE_NETWORKS.items()}
    assert set(shapes.values()) == {(3, 32, 32), (1, 320, 320)}
    assert isinstance(THIN, UNetConfig)
