"""The published guided-diffusion models as configurations: OpenAI's release and its descendants.

Source: README of openai/guided-diffusion (July 2021) for all but the FFHQ model, which is
yandex-research/ddpm-segmentation's (arXiv 2112.03126) and has the LSUN architecture.
Attention at 32, 16 and 8 pixels is written as the factors that reach these sizes.
"""

from __future__ import annotations

from dataclasses import replace

from headwater.nets.adm import UNetConfig
from headwater.nets.adm_classifier import ClassifierConfig

_256 = UNetConfig(
    in_channels=3,
    model_channels=256,
    out_channels=6,
    num_res_blocks=2,
    attention_resolutions=(8, 16, 32),
    channel_mult=(1, 1, 2, 2, 4, 4),
    num_head_channels=64,
    use_scale_shift_norm=True,
    resblock_updown=True,
)
_LSUN = replace(_256, dropout=0.1)

UNETS: dict[str, UNetConfig] = {
    "64x64_diffusion": replace(
        _256,
        model_channels=192,
        num_res_blocks=3,
        attention_resolutions=(2, 4, 8),
        channel_mult=(1, 2, 3, 4),
        dropout=0.1,
        num_classes=1000,
        use_new_attention_order=True,
    ),
    "128x128_diffusion": replace(
        _256,
        attention_resolutions=(4, 8, 16),
        channel_mult=(1, 1, 2, 3, 4),
        num_heads=4,
        num_head_channels=-1,
        num_classes=1000,
    ),
    "256x256_diffusion": replace(_256, num_classes=1000),
    "256x256_diffusion_uncond": _256,
    "512x512_diffusion": replace(
        _256,
        attention_resolutions=(16, 32, 64),
        channel_mult=(0.5, 1, 1, 2, 2, 4, 4),
        num_classes=1000,
    ),
    # An upsampler reads the noisy image and the bilinearly enlarged small one, concatenated.
    "64_256_upsampler": replace(
        _256,
        in_channels=6,
        model_channels=192,
        num_heads=4,
        num_head_channels=-1,
        num_classes=1000,
    ),
    "128_512_upsampler": replace(
        _256,
        in_channels=6,
        model_channels=192,
        attention_resolutions=(16, 32),
        num_classes=1000,
    ),
    "lsun_bedroom": _LSUN,
    "lsun_cat": _LSUN,
    "lsun_horse": _LSUN,
    "lsun_horse_nodropout": _256,
    "ffhq": _LSUN,
}
"""U-Nets by the stem of their file name."""

_CLASSIFIER = ClassifierConfig(
    in_channels=3,
    model_channels=128,
    out_channels=1000,
    num_res_blocks=2,
    attention_resolutions=(8, 16, 32),
    channel_mult=(1, 1, 2, 2, 4, 4),
    num_head_channels=64,
    use_scale_shift_norm=True,
    resblock_updown=True,
    pool="attention",
    image_size=256,
)

CLASSIFIERS: dict[str, ClassifierConfig] = {
    "64x64_classifier": replace(
        _CLASSIFIER,
        num_res_blocks=4,
        attention_resolutions=(2, 4, 8),
        channel_mult=(1, 2, 3, 4),
        image_size=64,
    ),
    "128x128_classifier": replace(
        _CLASSIFIER,
        attention_resolutions=(4, 8, 16),
        channel_mult=(1, 1, 2, 3, 4),
        image_size=128,
    ),
    "256x256_classifier": _CLASSIFIER,
    "512x512_classifier": replace(
        _CLASSIFIER,
        attention_resolutions=(16, 32, 64),
        channel_mult=(0.5, 1, 1, 2, 2, 4, 4),
        image_size=512,
    ),
}
"""Classifiers by the stem of their file name."""
