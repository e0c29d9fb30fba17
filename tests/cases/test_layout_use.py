"""Pictures on the command line and in Python: equally strict, and networks left in training mode harmless."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import headwater as hw
from headwater.attacks import APGD, PGD, Threat, Transfer, certify, suite
from headwater.cli import main
from headwater.data import read_picture
from headwater.data.arrays import picture_stack
from headwater.errors import UserError
from headwater.methods.base import Images, Measured, Method
from headwater.methods.robustness.shared.purifies import Purified
from headwater.models import Prior, PriorConfig, ProcessConfig
from headwater.nets.adm import UNet, UNetConfig
from headwater.sampling import Run, RunOptions

SIDE = 16


def picture(height: int = 24, width: int = 20, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Prior:
    """A prior of 1 x 16 x 16 pictures with dropout, which it must not show."""
    network: dict[str, Any] = {"in_channels": 1, "out_channels": 1, "model_channels": 32, "num_res_blocks": 1}
    small: dict[str, Any] = {"channel_mult": [1], "attention_resolutions": [], "dropout": 0.5}
    config = PriorConfig(
        {"kind": "adm", **network, **small}, (1, SIDE, SIDE), ProcessConfig(T=20), predicts="v"
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = UNet(UNetConfig(**network, channel_mult=(1,), attention_resolutions=(), dropout=0.5))
        for parameter in built.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
    folder = tmp_path_factory.mktemp("prior") / "tiny"
    Prior(built.eval(), config).save_pretrained(folder)
    return Prior.from_pretrained(folder)


@pytest.fixture
def headwater(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """One command line: its code, and what it said on standard error and standard output."""

    def call(*words: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([str(word) for word in words])
        found = capfd.readouterr()
        return code, found.err, found.out

    return call


def test_the_command_line_asks_for_a_window_keeps_it_and_evaluates_results_without(
    tmp_path: Path, prior: Prior, headwater: Any
) -> None:
    values = np.random.default_rng(0).integers(-1000, 1500, (2, SIDE, SIDE)).astype(np.int16)
    values[0, 0, :2] = -1000, 1500
    np.save(tmp_path / "ct.npy", values)
    words = ["apply", "diffpure", "--prior", prior.source, "--image", tmp_path / "ct.npy", "--level", 2]
    words += ["--steps", 1, "--out", tmp_path / "out", "--json"]
    code, said, _ = headwater(*words)
    assert code == 1
    assert said.startswith("headwater: --image: ")
    assert "ct.npy goes from -1000 to 1500, so what is black and white is not known: give --window" in said
    assert headwater(*words, "--window", -1000, 1500)[:2] == (0, "")
    assert "window:" in (tmp_path / "out" / "run.yaml").read_text()
    asked = ["evaluate", "diffpure", "--result", tmp_path / "out", "--truth", tmp_path / "ct.npy", "--json"]
    code, said, numbers = headwater(*asked)
    assert (code, said) == (0, "")
    results = [
        read_picture(p, (1, SIDE, SIDE)) for p in sorted((tmp_path / "out" / "purified").glob("*.png"))
    ]
    truth = picture_stack(values, "x", (-1000, 1500))
    mse = float((torch.stack(results) - truth).square().mean())
    assert json.loads(numbers)["mse"] == pytest.approx(mse)


def test_the_command_line_reads_one_picture_of_an_array_or_with_a_wrong_suffix(
    tmp_path: Path, prior: Prior, headwater: Any
) -> None:
    np.save(tmp_path / "one.npy", picture())
    one, two = Image.fromarray(picture()), Image.new("RGB", (4, 4))
    one.save(tmp_path / "photo.dat", "MPO", save_all=True, append_images=[two])
    for name in ("one.npy", "photo.dat"):
        out = tmp_path / f"out-{name}"
        words = [
            "--prior",
            prior.source,
            "--level",
            2,
            "--steps",
            1,
            "--out",
            out,
            "--image",
            tmp_path / name,
        ]
        assert headwater("apply", "diffpure", *words)[0] == 0
        assert len(list((out / "purified").iterdir())) == 1


def test_what_is_noted_is_in_the_record(tmp_path: Path, prior: Prior, headwater: Any) -> None:
    np.save(tmp_path / "three.npy", picture().transpose(2, 0, 1))
    words = ["--prior", prior.source, "--level", 2, "--steps", 1, "--out", tmp_path / "out"]
    code, said, _ = headwater("apply", "diffpure", *words, "--image", tmp_path / "three.npy")
    assert code == 0
    assert "as gray ones are wanted" in said
    assert "as gray ones are wanted" in (tmp_path / "out" / "run.yaml").read_text()


# Python


@dataclasses.dataclass(frozen=True)
class Given(Method):
    """Answers what it was given."""

    def apply(
        self, image: Images | None = None, measured: Measured | None = None, prior: Any = None,
        **how: Unpack[RunOptions],
    ) -> Any:  # fmt: skip
        """Any one of them."""
        return image if image is not None else measured

    def evaluate(self, image: Images) -> Any:
        """The same."""
        return image


BYTES = torch.from_numpy(picture(SIDE, SIDE, 2)).permute(2, 0, 1)[:, None]


@pytest.mark.parametrize("name", ["RePaint", "DiffPure", "AnoDDPM", "ILVR", "SDEdit", "GDMP"])
def test_every_method_refuses_tensors_of_other_ranges(prior: Prior, name: str) -> None:
    method = getattr(hw, name)()
    key = next(k for k in ("image", "source", "guide", "reference") if k in _arguments(method.apply))
    for odd in (BYTES.float(), BYTES * 16.0 - 1000, BYTES.float() / 8):
        given = {key: odd} | {
            k: torch.ones(1, 1, SIDE, SIDE).bool() for k in ("known", "mask") if k in _arguments(method.apply)
        }
        with pytest.raises(UserError, match=r"goes from .* but pictures lie in \[-1, 1\]: rescale them"):
            method.apply(prior, **given)


def _arguments(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_tensors_of_bytes_are_read_as_arrays_are_and_units_without_bounds_pass() -> None:
    found = Given().apply(image=BYTES)
    assert torch.equal(found, BYTES.float() / 255 * 2 - 1)
    assert torch.equal(Given().apply(image=[BYTES[0], BYTES[1]]), found)
    assert torch.equal(Given().apply(image=BYTES > 100).unique(), torch.tensor([-1.0, 1.0]))
    with pytest.raises(UserError, match=r"has numbers of torch.int64"):
        Given().apply(image=BYTES.long())
    with pytest.raises(UserError, match="NaN or infinite"):
        Given().apply(image=found / 0)
    noisy = found + 2
    assert Given().apply(measured=noisy) is noisy
    assert Given().evaluate(noisy) is noisy

    class Unbounded:
        config = dataclasses.make_dataclass("C", [("clip", bool, False)])()

    wide = found * 1000
    assert Given().apply(image=wide, prior=Unbounded()) is wide
    with pytest.raises(UserError, match="from 0 to 255"):
        Given().apply(
            image=BYTES.float().clamp(0, 255).index_fill(3, torch.tensor([0]), 255), prior=Unbounded()
        )


def test_arrays_and_pillow_pictures_are_read_as_files_are(caplog: Any) -> None:
    one = picture()
    assert torch.equal(
        Given().apply(image=one > 9), torch.from_numpy(one > 9).permute(2, 0, 1)[None] * 2.0 - 1
    )
    deep = Image.fromarray((one[..., 0].astype(np.uint16)) * 257)
    wanted = torch.from_numpy(one[..., 0]).float()[None, None] / 127.5 - 1
    torch.testing.assert_close(Given().apply(image=deep), wanted)
    with pytest.raises(UserError, match=r"none above .* or give an array in"):
        Given().apply(image=Image.fromarray(one[..., 0].astype(np.uint16)))
    with pytest.raises(UserError, match="which may be 3 gray pictures or one"):
        Given().apply(image=one.transpose(2, 0, 1))
    assert not caplog.records
    Given().apply(image=one / 255)
    assert "no value below 0 and is read as [-1, 1], where 0 is mid-grey" in caplog.text
    turned = Image.fromarray(one)
    turned.getexif()[0x0112] = 6
    Given().apply(image=turned)
    assert "has an orientation tag, which is not applied" in caplog.text


# Attacks, and networks that were left in training mode


def left_in_training() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5),
            nn.Linear(4 * SIDE * SIDE, 4),
        )  # fmt: skip
    net.train()
    net[1].eval()  # its owner froze this one
    return net


QUIET = Run(seed=0, progress=False, device="cpu")
X = torch.rand(6, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 3, 0, 1])


def test_classifiers_in_training_mode_are_asked_in_evaluation_mode_and_left_as_they_were(
    prior: Prior,
) -> None:
    net = left_in_training()
    net[1].train()
    buffers = [b.clone() for b in net.buffers()]
    threat = Threat("linf", 0.1)
    surrogate = Transfer(left_in_training(), PGD(2))

    def answers() -> list[Any]:
        attacks = {"pgd": PGD(2), "apgd": APGD(2), "transfer": surrogate}
        report = suite(net, X, Y, threat, attacks, **QUIET)
        defended = Purified(net, prior, hw.DiffPure(2, 1))
        behind = suite(defended, X[:2], Y[:2], threat, {"pgd": PGD(1)}, votes=2, **QUIET)
        alone = PGD(2).perturb(net, threat, X, Y, list(range(6)))[0]
        return [report.clean, *report.held.values(), behind.clean, *behind.held.values(), alone]

    first, again = answers(), answers()
    assert torch.equal(
        certify(net, X[:2], Y[:2], 0.1, 20, 5, **QUIET), certify(net, X[:2], Y[:2], 0.1, 20, 5, **QUIET)
    )
    assert all(part.training for part in net.modules())
    assert all(torch.equal(a, b) for a, b in zip(buffers, net.buffers(), strict=True))
    net.eval()
    for a, b, c in zip(first, again, answers(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
    parts = [part.training for part in surrogate.surrogate.modules()]
    assert parts == [True, True, False, True, True, True, True]


def test_priors_in_training_mode_are_walked_in_evaluation_mode_and_left_as_they_were(prior: Prior) -> None:
    image = X[:2] * 2 - 1
    image_in = image.clone().requires_grad_()

    def answers() -> list[torch.Tensor]:
        defended = Purified(nn.Flatten(), prior, hw.DiffPure(4, 2))
        grown = torch.autograd.grad(defended.seeded((image_in + 1) / 2, [1, 2]).sum(), image_in)[0]
        return [prior.sample(1, 2, **QUIET), hw.DiffPure(4, 2).apply(prior, image, **QUIET), grown]

    prior.network.eval()
    wanted = answers()
    prior.network.train()
    try:
        assert all(torch.equal(a, b) for a, b in zip(wanted, answers(), strict=True))
        assert all(part.training for part in prior.network.modules())
    finally:
        prior.network.eval()


def test_rounding_is_cut_and_other_ranges_are_refused_by_attacks(prior: Prior) -> None:
    net, odd = left_in_training(), X.clone()
    odd[0, 0, 0, :2] = torch.tensor([-2.98e-8, 1.00001])
    cut = odd.clamp(0, 1)
    reports = [suite(net, x, Y, Threat(), {"pgd": PGD(2)}, **QUIET) for x in (odd, cut)]
    assert torch.equal(reports[0].worst, reports[1].worst)
    for wrong, said in (
        (X * 2 - 1, r"go from -0\.99"),
        (X * 255, "go from 0.* to 25"),
        (BYTES, "torch.uint8"),
    ):
        with pytest.raises(UserError, match=said):
            suite(net, wrong, Y[: len(wrong)], Threat(), **QUIET)
        with pytest.raises(UserError, match=said):
            certify(net, wrong, Y[: len(wrong)], 0.1, **QUIET)
    with pytest.raises(UserError, match=r"lie in \[0, 1\], not from -0\.99"):
        Purified(net, prior, hw.DiffPure(2, 1))(X * 2 - 1)


def test_radii_in_grey_levels_are_refused() -> None:
    for eps in (8, 1, 255.0):
        with pytest.raises(
            UserError, match=rf"eps is {eps:g}, which allows every picture, .*give {eps:g} / 255"
        ):
            Threat("linf", eps)
    Threat("l2", 8.0)
    with pytest.raises(UserError, match=r"eps is 128, which allows every picture, .*give 128 / 255"):
        suite(left_in_training(), X, Y, Threat("l2", 128), **QUIET)
    with pytest.raises(UserError, match=r"the step size is 2 .*give 2 / 255"):
        PGD(2, size=2).perturb(left_in_training(), Threat(), X, Y, list(range(6)))
    with pytest.raises(UserError, match=r"std is 64, .*give 64 / 255"):
        certify(left_in_training(), X, Y, 64)


def test_encoders_in_training_mode_answer_as_in_evaluation_mode() -> None:
    encoder = hw.ImageTextEncoder.from_pretrained("emoji-captions")
    image = hw.load("emoji", "test", 32).images[:2]
    wanted = encoder.image(image), encoder.text(["red heart"])
    encoder.network.train()
    found = encoder.image(image), encoder.text(["red heart"])
    assert torch.equal(found[0], wanted[0])
    assert torch.equal(found[1], wanted[1])
    assert all(part.training for part in encoder.network.modules())
