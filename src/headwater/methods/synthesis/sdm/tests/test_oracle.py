"""SDM where the answer is known: pictures that differ from what their map says by white noise."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from headwater.errors import UserError
from headwater.methods.synthesis.sdm.method import SDM, FittedSDM, SDMConfig, edges_of
from headwater.nets.adm import UNetConfig
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.nets.spade import SPADEUNet
from headwater.sampling import Run
from headwater.training import TrainerConfig

SPREAD = 0.1
QUIET = Run(0, 64, "cpu", progress=False)
SMALL = UNetConfig(3, 32, 6, 1, (), channel_mult=(1, 1))


class Exact(nn.Module):
    """eps of grey pictures N(mean of the pixel's class, SPREAD^2), 0 under the empty map; least variance."""

    def __init__(self, config: SDMConfig, means: Tensor) -> None:
        super().__init__()
        self.alpha, self.means, self.calls = FittedSDM(self, config).denoiser.process.alpha, means, 0  # pyright: ignore

    def encode(self, told: Tensor) -> Tensor:
        return torch.einsum("bkhw,k->bhw", told, self.means)[:, None]

    def forward(self, x: Tensor, label: Tensor, features: Tensor) -> Tensor:
        self.calls += len(x)
        a = self.alpha[label.long() + 1].to(x).reshape(-1, 1, 1, 1)
        variance = 1 - a * a
        eps = variance.sqrt() * (x - a * features) / (a * a * SPREAD**2 + variance)
        return torch.cat([eps, -torch.ones_like(eps)], 1)


def exact(means: list[float], T: int = 400) -> FittedSDM:
    config = SDMConfig(replace(SMALL, in_channels=1, out_channels=2), (1, 16, 16), len(means), T=T)
    return FittedSDM(Exact(config, torch.tensor(means)), config)  # pyright: ignore[reportArgumentType]


def halves(side: int = 16) -> Tensor:
    """Two classes, left and right."""
    return (torch.arange(side) >= side // 2).long().expand(1, side, side)


@pytest.mark.parametrize("scale", [1.0, 2.0, 0.0])
def test_guidance_moves_the_law_away_from_that_of_the_empty_map(scale: float) -> None:
    # Both laws are Gaussian of one spread: guided, the mean is so many times as far from the empty map's.
    fitted, method = exact([-0.2, 0.3]), SDM(guidance_scale=scale, steps="400")
    drawn = method.draw(halves(), fitted, QUIET, draws=32)
    for part, mean in ((drawn[..., :8], -0.2), (drawn[..., 8:], 0.3)):
        assert float(part.mean()) == pytest.approx(scale * mean, abs=5 * SPREAD / part.numel() ** 0.5)
        assert 0.9 * SPREAD < float(part.std()) < 1.02 * SPREAD
    assert fitted.network.calls == 400 * 32 * (1 if scale == 1 else 2)


def test_a_label_that_is_no_class_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    fitted, method = exact([-0.4, 0.5]), SDM(guidance_scale=1, steps="20")
    labels = halves().clone()
    labels[:, :8], labels[:, 8:12] = 255, 7
    with caplog.at_level(logging.WARNING, "headwater"):
        drawn = method.draw(labels, fitted, QUIET, draws=16)
    assert "7, 255, none of the 2 classes" in caplog.text
    assert abs(float(drawn[:, :, :12].mean())) < 0.01
    assert float(drawn[:, :, 12:, :8].mean()) == pytest.approx(-0.4, abs=0.02)
    told = fitted.encode(labels, None)
    assert float(told[:, :, :12].abs().sum()) == 0
    assert torch.equal(told[:, :, 12:].argmax(1), labels[:, 12:])
    instances = torch.arange(4).repeat_interleave(4).expand(1, 16, 16)
    assert edges_of(instances)[0, 0, 0].tolist() == [0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0]
    assert float(edges_of(0 * instances).sum()) == 0


@pytest.mark.parametrize("updown", [True, False])
@torch.no_grad()
def test_what_is_read_once_is_what_is_read_at_every_step(updown: bool) -> None:
    config = replace(SMALL, channel_mult=(1, 1, 2), resblock_updown=updown, attention_resolutions=(2,))
    torch.manual_seed(0)
    network = SPADEUNet(config, 4, hidden=8)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    x, told, t = torch.randn(2, 3, 8, 12), torch.rand(2, 4, 8, 12), torch.tensor([3.0, 700.0])
    found = network.eval()(x, t, features=network.encode(told))
    torch.testing.assert_close(found, network(x, t, features=told), atol=1e-4, rtol=1e-4)
    assert float((found - network(x, t)).abs().max()) > 0.1
    assert torch.equal(network(x, t), network(x, t, features=0 * told))


def test_a_map_that_determines_the_picture_is_drawn() -> None:
    # Pictures are black where the map says 0 and white where it says 1: a minute network learns that.
    labels = torch.randint(2, (24, 4, 4), generator=torch.Generator().manual_seed(0))
    labels = labels.repeat_interleave(2, 1).repeat_interleave(2, 2)
    image = (2.0 * labels - 1)[:, None]
    sizes = UNetArchitecture(32, (1,), 1, ())
    training = TrainerConfig(60, 12, lr=3e-3, decay="cosine", ema=0.9)
    method = SDM(network=sizes, hidden=8, predicts="v", drop=0.1, steps="5", training=training)
    fitted = method.fit(image[:20], labels[:20], **QUIET)
    drawn = method.apply(labels[20:], fitted, **QUIET)
    found = (drawn[:, 0] > 0).long()
    assert float((found == labels[20:]).float().mean()) > 0.85
    assert method.evaluate(drawn, labels[20:], found=found)["miou"] > 0.75


def test_judges() -> None:
    labels = halves().repeat(6, 1, 1)
    noise = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    image = (labels - 0.5)[:, None] + 0.1 * noise
    scores = SDM().evaluate(image, labels, image, again=image)
    assert scores["miou"] == scores["miou_real"] > 0.9
    assert scores["frechet"] < 1e-6
    assert scores["variety"] == 0
    worse = SDM().evaluate(-image, labels, image, again=image)
    assert worse["miou"] < 0.5
    assert worse["variety"] > 0.1
    assert SDM().evaluate(image, labels, found=labels) == {"miou": 1.0}
    with pytest.raises(UserError, match="nothing says what the drawn pictures show: give truth"):
        SDM().evaluate(image, labels)


def test_what_cannot_be_is_said() -> None:
    x, labels = torch.zeros(2, 3, 16, 16), torch.zeros(2, 16, 16).long()
    method = SDM(network=UNetArchitecture(32, (1, 1), 1, ()))
    for arguments, said in (
        ((x, labels[:1]), "give one map of the same size for each picture"),
        ((x, labels + 255), "no pixel has a class"),
        ((x, labels, labels[:1]), "give one of the same size for each map"),
        ((x[..., :15], labels[..., :15]), "resize them to multiples of 2 a side"),
    ):
        with pytest.raises(UserError, match=said):
            method.fit(*arguments, **QUIET)
    with pytest.raises(UserError, match="drop is 1: give 0 to below 1"):
        replace(method, drop=1).fit(x, labels, **QUIET)
    fitted = exact([0.0])
    with pytest.raises(UserError, match="this network draws 16 x 16: crop or resize"):
        method.apply(labels[..., :8], fitted, **QUIET)
    with pytest.raises(UserError, match="trained without instances: leave them out"):
        method.apply(labels, fitted, labels, **QUIET)
    edged = replace(fitted, config=replace(fitted.config, edges=True))
    with pytest.raises(UserError, match="trained with instances: give those of these maps too"):
        method.apply(labels, edged, **QUIET)
