"""NCSN++: the published size, a start at zero, mistakes in a sentence. Its numbers are in tests/parity."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from headwater.nets.features import activations
from headwater.nets.ncsnpp import DDPMPP, NCSNpp, NCSNppConfig
from headwater.nets.ncsnpp_blocks import doubled, halved

SMALL = NCSNppConfig(16, 1, 8, (1, 2), 1, (8,))


def test_the_published_sizes() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in NCSNpp(NCSNppConfig()).parameters()) == 61_433_601
        assert sum(p.numel() for p in NCSNpp(DDPMPP).parameters()) == 106_632_579


def test_a_fresh_network_answers_zero_and_every_weight_learns() -> None:
    torch.manual_seed(0)
    net = NCSNpp(SMALL)
    x, label = torch.rand(2, 1, 16, 16), torch.tensor([0.1, 20.0])
    assert float(net(x, label).detach().abs().max()) == 0
    torch.nn.init.normal_(net.all_modules[-1].weight)  # pyright: ignore[reportArgumentType]
    for block in net.modules():
        if hasattr(block, "Conv_1"):
            torch.nn.init.normal_(block.Conv_1.weight)
        if hasattr(block, "NIN_3"):
            torch.nn.init.normal_(block.NIN_3.W)
    net(x, label).square().sum().backward()
    still = [n for n, p in net.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    # A constant added to all keys changes no attention, so the keys' bias learns nothing but rounding.
    assert [n for n in still if not n.endswith("NIN_1.b")] == []


def test_other_sizes_of_picture_keep_the_layers() -> None:
    net = NCSNpp(SMALL).eval()
    assert net(torch.rand(1, 1, 24, 12), torch.tensor([1.0])).shape == (1, 1, 24, 12)


@pytest.mark.parametrize("fir", [False, True])
def test_resampling_keeps_constants_and_is_adjoint(fir: bool) -> None:
    one = torch.ones(1, 2, 8, 8, dtype=torch.float64)
    inside = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(doubled(one, fir)[inside], torch.ones(1, 2, 12, 12, dtype=torch.float64))
    torch.testing.assert_close(halved(one, fir)[..., 1:-1, 1:-1], torch.ones(1, 2, 2, 2, dtype=torch.float64))
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, generator=draw)
    y = torch.randn(1, 2, 8, 8, dtype=torch.float64, generator=draw)
    torch.testing.assert_close((doubled(x, fir) * y).sum(), 4 * (x * halved(y, fir)).sum())


@torch.no_grad()
def test_features_are_those_of_the_decoder_s_blocks() -> None:
    torch.manual_seed(0)
    net = NCSNpp(replace(SMALL, num_res_blocks=2)).eval()
    torch.nn.init.normal_(net.all_modules[-1].weight)  # pyright: ignore[reportArgumentType]
    x, label = torch.rand(1, 1, 16, 16), torch.tensor([2.0])
    found = activations(net, x, label, ["middle_block", 0, 1, 2, 3, 4, 5])
    assert [v.shape[-1] for v in found.values()] == [8, 8, 8, 16, 16, 16, 16]
    norm, last = net.all_modules[-2:]
    torch.testing.assert_close(last(F.silu(norm(found[5]))) / 2, net(x, label))
    with pytest.raises(ValueError, match=r"output_blocks\.6 is none"):
        activations(net, x, label, [6])


def test_mistakes_are_a_sentence() -> None:
    with pytest.raises(ValueError, match="halved"):
        NCSNppConfig(image_size=30)
    with pytest.raises(ValueError, match="sigma"):
        NCSNppConfig(embedding="positional")
    with pytest.raises(ValueError, match="multiples of 2"):
        NCSNpp(SMALL)(torch.rand(1, 1, 15, 16), torch.ones(1))
