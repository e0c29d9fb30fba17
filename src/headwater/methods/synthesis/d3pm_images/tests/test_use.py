"""D3PM on pictures as a person uses it: learn, draw, complete, measure, keep."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from headwater.cli import main
from headwater.data import save_picture
from headwater.errors import UserError
from headwater.methods.synthesis.d3pm_images.fitted import FittedD3PMImages, pictures, quantised
from headwater.methods.synthesis.d3pm_images.method import D3PMImages
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.sampling import Run
from headwater.training import TrainerConfig

QUIET = Run(0, progress=False)
METHOD = D3PMImages(
    K=5, T=6, network=UNetArchitecture(32, (1,), 1, (), dropout=0.1, use_scale_shift_norm=False),
    training=TrainerConfig(3, 4, lr=1e-3),
    steps=6, levels=6,
)  # fmt: skip
VALUES = {-1.0, -0.5, 0.0, 0.5, 1.0}


@pytest.fixture(scope="module")
def data() -> torch.Tensor:
    return pictures(torch.randint(5, (12, 1, 8, 8), generator=torch.Generator().manual_seed(0)), 5)


@pytest.fixture(scope="module")
def fitted(data: torch.Tensor) -> FittedD3PMImages:
    return METHOD.fit(data, **QUIET)


@pytest.mark.parametrize(
    ("chain", "head"), [("gaussian", "logistic"), ("uniform", "logits"), ("absorbing", "logits")]
)
def test_every_chain_learns_draws_completes_and_is_kept(
    chain: str, head: str, data: torch.Tensor, tmp_path: Path
) -> None:
    method = replace(METHOD, chain=chain, head=head)  # pyright: ignore[reportArgumentType]
    fitted = method.fit(data, **QUIET)
    drawn = method.write(3, fitted, **QUIET)
    assert drawn.shape == (3, 1, 8, 8)
    assert set(drawn.unique().tolist()) <= VALUES
    known = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    known[..., 4:] = False
    done = method.apply(data, fitted, known, **QUIET)
    assert torch.equal(done.completed[..., :4], data[..., :4])
    assert not torch.equal(done.completed, data)
    again = method.apply(data, fitted, known, seed=0, batch_size=5, progress=False)
    assert torch.equal(again.completed, done.completed)
    torch.testing.assert_close(again.bits, done.bits)


def test_without_a_mask_pictures_are_measured_and_nothing_is_drawn(
    data: torch.Tensor, fitted: FittedD3PMImages
) -> None:
    done = METHOD.apply(data, fitted, **QUIET)
    assert torch.equal(done.completed, data)
    assert done.bits.shape == (12,)
    assert (done.bits > 0.5).all()
    numbers = METHOD.evaluate(done.bits)
    assert numbers["low"] <= numbers["bits_per_dimension"] <= numbers["high"]
    assert numbers["bits_per_dimension"] == pytest.approx(float(done.bits.mean()))


def test_training_lowers_the_bits() -> None:
    stripes = pictures(torch.tensor([0, 4]).repeat(4).expand(16, 1, 8, 8), 5)
    method = replace(METHOD, head="logits", training=TrainerConfig(40, 8, lr=3e-3))
    before, after = (
        float(m.apply(stripes, m.fit(stripes, **QUIET), **QUIET).bits.mean())
        for m in (replace(method, training=TrainerConfig(1, 8, lr=1e-9)), method)
    )
    assert after < before - 0.5


def test_a_mask_black_all_over_draws_what_write_does(data: torch.Tensor, fitted: FittedD3PMImages) -> None:
    nothing = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    done = METHOD.apply(data[:3], fitted, nothing, **QUIET)
    assert torch.equal(done.completed, METHOD.write(3, fitted, **QUIET))


def test_quantising_is_nearest_and_undone_on_its_values() -> None:
    values = torch.arange(17)
    assert torch.equal(quantised(pictures(values, 17), 17), values)
    assert quantised(torch.tensor([-3.0, 0.05, 3.0]), 17).tolist() == [0, 8, 16]


def test_what_cannot_be_is_said(data: torch.Tensor, fitted: FittedD3PMImages) -> None:
    with pytest.raises(UserError, match="resize them"):
        METHOD.apply(data[..., :4], fitted, **QUIET)
    with pytest.raises(UserError, match=r"masks are \(4, 4\)"):
        METHOD.apply(data, fitted, torch.ones(1, 1, 4, 4, dtype=torch.bool), **QUIET)
    with pytest.raises(UserError, match="give a number from 1 to 6"):
        replace(METHOD, steps=7).apply(data, fitted, **QUIET)
    with pytest.raises(UserError, match="levels is 0"):
        replace(METHOD, levels=0).apply(data, fitted, **QUIET)
    with pytest.raises(UserError, match="raise K"):
        replace(METHOD, K=1).fit(data, **QUIET)
    with pytest.raises(UserError, match="choose fewer values or levels"):
        replace(METHOD, K=50_000).fit(data, **QUIET)
    with pytest.raises(UserError, match="there are no pictures"):
        METHOD.fit(data[:0], **QUIET)


def test_the_command_line_fits_measures_completes_and_evaluates(
    data: torch.Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, picture in enumerate(data):
        save_picture(picture, tmp_path / "mine" / f"{i}.png")
    mask = torch.ones(1, 8, 8)
    mask[..., 4:] = -1
    save_picture(mask, tmp_path / "mask.png")
    mine, out = str(tmp_path / "mine"), [str(tmp_path / name) for name in ("fit", "measured", "completed")]
    sizes = "--K 5 --T 6 --network.model-channels 32 --network.channel-mult 1 --network.num-res-blocks 1"
    sizes += " --network.attention-resolutions 2 --steps 6 --levels 6"
    words = f"{sizes} --training.steps 2 --training.batch-size 4".split()
    assert main(["fit", "d3pm-images", "--image", mine, "--out", out[0], "--json", *words]) == 0
    apply = ["apply", "d3pm-images", "--image", mine, "--fitted", out[0], "--json"]
    assert main([*apply, "--out", out[1]]) == 0
    assert main([*apply, "--out", out[2], "--known", str(tmp_path / "mask.png")]) == 0
    assert len(list((Path(out[2]) / "completed").glob("*.png"))) == 12
    capsys.readouterr()
    assert main(["evaluate", "d3pm-images", "--result", out[1], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bits_per_dimension"] > 0.5
