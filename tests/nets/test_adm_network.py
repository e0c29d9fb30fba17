"""The U-Net as a module: shapes, dtypes, errors, features without hooks."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch
from torch import nn

from headwater.nets.adm import UNet, UNetConfig
from headwater.nets.adm_blocks import timestep_embedding
from headwater.nets.adm_classifier import Classifier, ClassifierConfig
from headwater.nets.features import activations, block_names
from headwater.nets.wrappers import OfClass, OnUnitRange, Preconditioned

CONFIG = UNetConfig(
    in_channels=3,
    model_channels=32,
    out_channels=6,
    num_res_blocks=1,
    attention_resolutions=(2,),
    channel_mult=(1, 1, 2),
    num_head_channels=16,
    use_scale_shift_norm=True,
    resblock_updown=True,
)


@pytest.fixture
def unet() -> UNet:
    torch.manual_seed(0)
    network = UNet(CONFIG).eval()
    for parameter in network.parameters():  # zero-initialised layers would hide every mistake
        nn.init.normal_(parameter, std=0.1)
    return network


def inputs(batch: int = 2, height: int = 16, width: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 3, height, width, generator=generator)
    return x, torch.arange(batch) * 100 + 5


def test_a_fresh_network_predicts_zero() -> None:
    x, t = inputs()
    assert torch.equal(UNet(CONFIG)(x, t), torch.zeros(2, 6, 16, 16))


@torch.no_grad()
def test_batch_rows_do_not_mix(unet: UNet) -> None:
    x, t = inputs()
    alone = torch.cat([unet(x[i : i + 1], t[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(unet(x, t), alone, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_long_and_short_attention_agree(unet: UNet, monkeypatch: pytest.MonkeyPatch) -> None:
    x, t = inputs()
    short = unet(x, t)
    monkeypatch.setattr("headwater.nets.adm_blocks.SHORT", 0)
    torch.testing.assert_close(unet(x, t), short, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_reduced_precision_stays_close_and_keeps_the_input_dtype(unet: UNet) -> None:
    x, t = inputs()
    exact = unet(x, t)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = unet(x.to(memory_format=torch.channels_last), t)
    assert mixed.dtype == torch.float32
    assert (mixed - exact).norm() < 0.05 * exact.norm()
    half = unet.to(torch.bfloat16)(x.to(torch.bfloat16), t)
    assert half.dtype == torch.bfloat16
    assert (half.float() - exact).norm() < 0.05 * exact.norm()
    assert unet.double()(x.double(), t).dtype == torch.float64


def test_odd_embedding_width_is_padded() -> None:
    assert timestep_embedding(torch.tensor([3.0]), 7)[0, -1] == 0


@pytest.mark.parametrize(
    ("x", "t", "y", "message"),
    [
        (torch.zeros(1, 3, 18, 16), torch.zeros(1), None, "multiple of 4.*18x16"),
        (torch.zeros(1, 1, 16, 16), torch.zeros(1), None, r"\(B, 3, H, W\)"),
        (torch.zeros(2, 3, 16, 16), torch.tensor(5), None, "one timestep per sample"),
        (torch.zeros(1, 3, 16, 16), torch.zeros(1), torch.zeros(1).long(), "leave y out"),
    ],
)
def test_misuse_is_a_sentence(
    unet: UNet, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        unet(x, t, y)


def test_class_conditional_network_wants_labels() -> None:
    network = UNet(replace(CONFIG, num_classes=4))
    with pytest.raises(ValueError, match="pass labels y"):
        network(*inputs())


@pytest.mark.parametrize(
    "change",
    [
        {"model_channels": 48},
        {"num_head_channels": 24},
        {"num_head_channels": -1, "num_heads": 5},
        {"num_head_channels": -1, "num_heads_upsample": 5},
        {"num_head_channels": 0},
        {"num_res_blocks": 0},
        {"channel_mult": ()},
    ],
)
def test_impossible_architectures_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="choose"):
        replace(CONFIG, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pool": "attention"}, "image_size"),
        ({"pool": "attention", "image_size": 18}, "divisible by 4"),
        ({"pool": "max"}, "adaptive, attention, spatial, spatial_v2"),
    ],
)
def test_impossible_classifiers_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassifierConfig(3, 32, 5, 1, (2,), channel_mult=(1, 1, 2), num_head_channels=16, **change)  # type: ignore[arg-type]


@torch.no_grad()
@pytest.mark.parametrize("pool", ["adaptive", "attention", "spatial", "spatial_v2"])
def test_every_pool_gives_logits(pool: str) -> None:
    config = ClassifierConfig(
        3,
        32,
        5,
        1,
        (2,),
        channel_mult=(1, 1, 2),
        num_head_channels=16,
        pool=pool,
        image_size=16,  # type: ignore[arg-type]
    )
    classifier = Classifier(config)
    assert classifier(*inputs()).shape == (2, 5)
    if pool == "attention":
        with pytest.raises(ValueError, match="16x16"):
            classifier(*inputs(height=32, width=32))
    else:
        assert classifier(*inputs(height=32)).shape == (2, 5)


def count_calls(network: UNet) -> list[str]:
    """Names of blocks as they run."""
    ran: list[str] = []
    for name, block in network.named_children():
        for index, part in enumerate(block if isinstance(block, nn.ModuleList) else []):
            part.register_forward_hook(lambda *_, at=f"{name}.{index}": ran.append(at))
    return ran


@torch.no_grad()
def test_features_are_block_outputs_and_stop_early(unet: UNet) -> None:
    expected = dict(unet.stages(*inputs()))
    ran = count_calls(unet)
    found = activations(unet, *inputs(), [3, "middle_block", 1, "input_blocks.2"])
    assert list(found) == ["input_blocks.2", "middle_block", 1, 3]
    for name, value in found.items():
        key = f"output_blocks.{name}" if isinstance(name, int) else name
        assert torch.equal(value, expected[key])
    assert ran[-1] == "output_blocks.3"
    assert activations(unet, *inputs(), []) == {}


@torch.no_grad()
def test_features_of_a_wrapped_network_are_read_as_the_wrapper_calls_it(unet: UNet) -> None:
    x, t = inputs()
    sigma = torch.tensor([0.5, 3.0])
    plain = activations(unet, x / (sigma.reshape(-1, 1, 1, 1) ** 2 + 0.25).sqrt(), sigma.log() / 4, [1])[1]
    assert torch.equal(activations(Preconditioned(unet), x, sigma, [1])[1], plain)
    plain = activations(unet, (x + 1) / 2, t, [1])[1]
    assert torch.equal(activations(OnUnitRange(unet, "eps"), x, t, [1])[1], plain)
    told = UNet(replace(unet.config, num_classes=3)).eval()
    wrapped = OfClass(told, 2)
    for y, asked in (([2, 2], None), ([0, 1], torch.tensor([0, 1]))):
        plain = activations(told, x, t, [1], torch.tensor(y))[1]
        assert torch.equal(activations(wrapped, x, t, [1], asked)[1], plain)


def test_features_carry_gradients(unet: UNet) -> None:
    x, t = inputs()
    x.requires_grad_()
    activations(unet, x, t, [2])[2].sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_unknown_block_or_network_is_refused(unet: UNet) -> None:
    with pytest.raises(ValueError, match=r"output_blocks\.6 is none"):
        activations(unet, *inputs(), [6])
    with pytest.raises(ValueError, match="not Linear"):
        activations(nn.Linear(1, 1), *inputs(), [0])


@pytest.fixture
def foreign() -> nn.Module:
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    return UNet2DModel(
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=(32, 32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    ).eval()


@torch.no_grad()
def test_features_of_a_diffusers_network(foreign: nn.Module) -> None:
    assert len(block_names(foreign)) == 6 + 1 + 6
    found = activations(foreign, *inputs(), [5, 0, 1, 3, "middle_block", "input_blocks.2"])
    shapes = {name: tuple(value.shape[1:]) for name, value in found.items()}
    # As the reference's own decoder: the block with the upsampler is already at the next size.
    assert shapes == {
        "input_blocks.2": (32, 8, 8),
        "middle_block": (64, 4, 4),
        0: (64, 4, 4),
        1: (64, 8, 8),
        3: (32, 16, 16),
        5: (32, 16, 16),
    }
    assert not any(module._forward_hooks for module in foreign.modules())


def test_threads_share_a_diffusers_network(foreign: nn.Module) -> None:
    # Each thread asks for another block of other pictures; a stray hook would mix or cut them.
    pictures = [torch.full((1, 3, 16, 16), float(i)) for i in range(3)]
    blocks = [0, 2, 5]
    t = torch.tensor([10])
    with torch.no_grad():
        alone = [activations(foreign, pictures[i], t, [blocks[i]])[blocks[i]] for i in range(3)]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(10):
            with torch.no_grad():
                value = activations(foreign, pictures[i], t, [blocks[i]])[blocks[i]]
            if not torch.equal(value, alone[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
