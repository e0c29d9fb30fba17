"""DARL where the answer is known: networks that answer what they see, laws of norms, pools and trees."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.errors import UserError
from headwater.methods.segmentation.darl.method import (
    DARL,
    DARLConfig,
    DARLNetwork,
    FittedDARL,
    chain,
    chart_of,
    passes,
    placed,
)
from headwater.methods.segmentation.darl.trees import Trees
from headwater.nets.level_unet import LevelArchitecture, LevelUNetConfig
from headwater.nets.patch_gan import PatchArchitecture, Pool
from headwater.nets.switchable_spade import SpadeArchitecture, SpectralConv2d, SwitchableSpade
from headwater.training import TrainerConfig

QUIET: dict[str, Any] = {"seed": 0, "progress": False, "device": "cpu"}


class Seen(nn.Module):
    """Without a map it answers its first channel, with one the difference of the map's two."""

    def forward(self, x: Tensor, chart: Tensor | None = None) -> Tensor:
        return x[:, :1] if chart is None else chart[:, 1:] - chart[:, :1]


class White(nn.Module):
    """eps of a black diffusion: what of x_t is noise where the picture is 0."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        sigma = chain(CONFIG).sigma[t.long().cpu() + 1].to(x)
        return x / sigma[:, None, None, None]


CONFIG = DARLConfig(
    LevelUNetConfig(32, (1,), 1, (), in_channels=1, out_channels=1), SpadeArchitecture(4, 4), 16
)


def known(**changes: Any) -> FittedDARL:
    config = replace(CONFIG, **changes)
    network = DARLNetwork(None, config.generator)
    network.segment_fn = Seen()  # pyright: ignore[reportAttributeAccessIssue]
    return FittedDARL(network, config)


@pytest.mark.parametrize(("stride", "sides"), [(1, (16, 40)), (2, (32, 78)), (3, (57, 60))])
def test_pictures_that_are_split_and_cut_are_put_together_again(stride: int, sides: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *sides, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = DARL().apply(image, known(stride=stride, channel="green"), **QUIET)
    torch.testing.assert_close(2 * found.soft - 1, image[:, 1:2], atol=1e-5, rtol=0)
    assert torch.equal(found.mask, found.soft > 0.5)


@pytest.mark.parametrize(("tile", "side", "count"), [(0, 16, 8), (24, 24, 3), (8, 8, 45)])
def test_tiles_may_have_another_size_than_in_training(tile: int, side: int, count: int) -> None:
    fitted, seen = known(stride=1), list[tuple[int, ...]]()
    fitted.network.segment_fn.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
    image = torch.rand(1, 1, 24, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = DARL(tile=tile).apply(image, fitted, **QUIET)
    torch.testing.assert_close(2 * found.soft - 1, image, atol=1e-5, rtol=0)
    assert {shape[-2:] for shape in seen} == {(side, side)}
    assert sum(shape[0] for shape in seen) == count
    assert max(n * h * w for n, _, h, w in seen) <= 16 * 16 * 16  # no more memory than in training


def test_the_three_passes_are_what_the_equations_say() -> None:
    """A generator that answers what it sees, and the exact noise of black backgrounds."""
    draws = torch.Generator().manual_seed(0)
    image, noise = (torch.randn(4, 1, 8, 8, generator=draws) for _ in range(2))
    background, trees = torch.zeros(4, 1, 8, 8), torch.randn(4, 1, 8, 8, generator=draws).sign()
    near, far = torch.tensor([0, 1, 50, 199]), torch.tensor([0, 10, 500, 1999])
    network, q = known().network, chain(CONFIG)
    network.denoise_fn = White()  # pyright: ignore[reportAttributeAccessIssue]
    found = passes(network, q, image, background, chart_of(trees), noise, near, far)
    assert float(found.error) < 1e-9
    torch.testing.assert_close(found.mask, q.combine(image, noise, near + 1))
    assert torch.equal(found.image, trees)
    torch.testing.assert_close(found.again, q.combine(trees, noise, near + 1))
    network.denoise_fn = None
    plain = passes(network, q, image, background, chart_of(trees), noise, near, far)
    assert torch.equal(plain.mask, image)
    assert torch.equal(plain.again, trees)
    assert float(plain.error) == 0


def test_a_switched_norm_is_an_instance_norm_either_way() -> None:
    torch.manual_seed(0)
    x, chart = torch.randn(2, 4, 8, 8) * 3 + 1, torch.rand(2, 2, 4, 4)
    spade = SwitchableSpade(4, 2, 8)
    with torch.no_grad():
        for v in (*spade.mlp_gamma.parameters(), *spade.mlp_beta.parameters()):
            v.zero_()
        spade.mlp_beta.bias.fill_(0.5)  # pyright: ignore[reportOptionalMemberAccess]
        spade.param_norm.weight.fill_(2)
        found = spade(x, chart)
        torch.testing.assert_close(found - 0.5, F.instance_norm(x))
        torch.testing.assert_close(spade(x, None), 2 * F.instance_norm(x))


def test_the_largest_singular_value_becomes_one() -> None:
    torch.manual_seed(0)
    conv = SpectralConv2d(4, 6, 3)
    x = torch.zeros(1, 4, 3, 3)
    for _ in range(200):
        conv(x)
    sigma = conv.weight_u @ conv.weight_orig.flatten(1) @ conv.weight_v
    torch.testing.assert_close(
        sigma, torch.linalg.matrix_norm(conv.weight_orig.flatten(1), 2), rtol=1e-3, atol=0
    )
    before = conv.weight_u.clone()
    conv.eval()(x)
    assert torch.equal(before, conv.weight_u)


def test_half_of_what_a_full_pool_shows_is_old_and_a_checkpoint_keeps_it() -> None:
    pool, draws = Pool(20, 1), torch.Generator().manual_seed(0)
    assert pool.exchange(torch.arange(20.0)[:, None], draws).flatten().tolist() == list(range(20))
    shown = torch.cat([pool.exchange(torch.tensor([[20.0 + i]]), draws) for i in range(400)]).flatten()
    old = shown != 20 + torch.arange(400)
    assert 0.4 < float(old.float().mean()) < 0.6
    assert len(shown.unique()) == 400  # none is shown twice: one that was shown has left
    other = Pool(20, 1)
    other.load_state_dict(pool.state_dict())
    again = [p.exchange(torch.ones(30, 1), torch.Generator().manual_seed(1)) for p in (pool, other)]
    assert torch.equal(*again)


def test_trees_are_a_function_of_options_seed_and_number() -> None:
    few, more = Trees(3, reach=10, widest=4).draw(32, 5), Trees(8, reach=10, widest=4).draw(32, 5)
    assert torch.equal(few, more[:3])
    assert set(few.unique().tolist()) == {-1.0, 1.0}
    assert not torch.equal(few, Trees(3, reach=10, widest=4).draw(32, 6))
    wide = Trees(8, reach=10, widest=8).draw(32, 5)
    assert 1.3 * float((more > 0).sum()) < float((wide > 0).sum())
    for wrong in ({"count": 0}, {"trunks": (2, 1)}, {"thinnest": 99.0}, {"narrows": 1.0}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            Trees(**wrong)


def test_places_are_whole_pieces_of_a_picture() -> None:
    image = torch.arange(12.0 * 16).reshape(1, 12, 16)
    for k in range(20):
        piece = placed(image, 4, 2, torch.Generator().manual_seed(k))
        steps = {abs(float(piece[0, 0, 1] - piece[0, 0, 0])), abs(float(piece[0, 1, 0] - piece[0, 0, 0]))}
        assert piece.shape == (1, 4, 4)
        assert steps == {2.0, 32.0}


def test_masks_are_compared_picture_by_picture_and_inside() -> None:
    truth = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    truth[:, :, :2] = True
    mask = truth.clone()
    mask[1, :, 2] = True
    found = DARL().evaluate(mask, truth)
    assert found["dice"] == pytest.approx((1 + 16 / 20) / 2)
    assert found["iou"] == pytest.approx((1 + 8 / 12) / 2)
    assert found["precision_std"] == pytest.approx((1 - 8 / 12) / 2)
    inside = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    inside[:, :, :2] = True
    assert DARL().evaluate(mask, truth, inside)["dice"] == 1


def test_what_cannot_be_is_said() -> None:
    x = torch.zeros(2, 1, 24, 24)
    method = DARL(
        size=16, stride=1, network=LevelArchitecture(32, (1,), 1, ()), generator=SpadeArchitecture(4, 4),
        discriminator=PatchArchitecture(4, 2), trees=Trees(2, reach=8), training=TrainerConfig(1, 2),
    )  # fmt: skip
    for changes, words in (
        ({"stride": 2}, "give 16 times stride 2"),
        ({"size": 8}, "want 12 pixels or more"),
        ({"size": 14}, "multiple of 4"),
        ({"history": 0}, "1 or more"),
        ({"T": 0}, "timesteps"),
    ):
        with pytest.raises(UserError, match=words):
            replace(method, **changes).fit(x, x, **QUIET)
    with pytest.raises(UserError, match="no picture in background"):
        method.fit(x, x[:0], **QUIET)
    with pytest.raises(UserError, match="pictures of masks are 8 x 8"):
        method.fit(x, x, x[..., :8, :8], **QUIET)
    with pytest.raises(UserError, match="multiple of the stride 3"):
        DARL().apply(torch.zeros(1, 1, 48, 50), known(stride=3), **QUIET)
    with pytest.raises(UserError, match="tile is 10"):
        DARL(tile=10).apply(torch.zeros(1, 1, 16, 16), known(stride=1), **QUIET)
    with pytest.raises(UserError, match="to 24 or more"):
        DARL(tile=24).apply(torch.zeros(1, 1, 18, 32), known(stride=1), **QUIET)
    with pytest.raises(UserError, match="or to one of 4"):
        DARL().apply(torch.zeros(1, 1, 15, 32), known(stride=1), **QUIET)
    with pytest.raises(UserError, match="has no diffusion"):
        _ = known().denoiser
    own = replace(method, diffusion=False).fit(
        x, x, x.sign() + 1, **QUIET
    )  # masks of one's own, no diffusion
    assert own.network.denoise_fn is None
    assert DARL().apply(x, own, **QUIET).mask.shape == x.shape
