"""GLIDE's U-Nets beside what the rooms compare with the reference's arrays."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from arrays import close
from headwater.nets.text2im import SuperResText2Im, Text2Im, Text2ImConfig
from headwater.nets.text_encoder import TextConfig


@torch.no_grad()
def test_upsampling_reads_the_enlarged_picture() -> None:
    """No reference array exists: the network must be the base one on six channels."""
    config = Text2ImConfig(
        in_channels=6, model_channels=32, out_channels=6, num_res_blocks=1, resblock_updown=True,
        attention_resolutions=(2,), channel_mult=(1, 1), num_heads=2, text=TextConfig(30, 6, 24, 2, 3),
    )  # fmt: skip
    torch.manual_seed(0)
    net = SuperResText2Im(config).eval()
    for parameter in net.parameters():
        parameter.normal_(0, 0.1)
    text = net.encode(torch.arange(12).view(2, 6), torch.arange(12).view(2, 6) % 6 < 4)
    x, t, low = torch.randn(2, 3, 16, 16), torch.tensor([3, 700]), torch.rand(2, 3, 4, 4)
    large = F.interpolate(low, (16, 16), mode="bilinear", align_corners=False)
    close(net(x, t, *text, low), Text2Im.forward(net, torch.cat([x, large], 1), t, *text), share=1e-5)
