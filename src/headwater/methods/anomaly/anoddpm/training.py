"""How to train the prior that AnoDDPM looks with: on healthy pictures, with the noise that it will use."""

from __future__ import annotations

from dataclasses import replace

from headwater.models import ProcessConfig
from headwater.training import Architecture, Recipe

Options = dict[str, int | float | str]

PAPER = Recipe(
    data="brain",
    shape=(1, 256, 256),
    network=Architecture(
        model_channels=128,
        channel_mult=(1, 1, 2, 2, 4, 4),
        num_res_blocks=2,
        attention_resolutions=(8, 16, 32),
        num_heads=2,
        use_scale_shift_norm=False,
        resblock_updown=True,
    ),
    process=ProcessConfig(betas="linear"),
    noise="simplex",
    noise_options={"octaves": 6, "persistence": 0.8, "wavelength": 64.0},
    steps=300_000,
    batch=1,
    lr=1e-4,
    warmup=0,
    decay="none",
    ema=0.9999,
)
"""Wyatt et al. 2022 and their code: 131.6 M parameters. They draw t below 800 only; here every level is
trained, so that any of them can be walked from."""

SMALL = Recipe(
    data="brain",
    network=Architecture(channel_mult=(1, 2, 2), num_head_channels=32),
    process=ProcessConfig(betas="linear"),
    predicts="v",
    noise="simplex",
    noise_options={"octaves": 4, "persistence": 0.8, "wavelength": 16.0},
    levels="stratified",
    steps=1600,
    batch=64,
    betas=(0.9, 0.99),
    precision="bf16",
    channels_last=True,
)
"""What the shipped priors `brain-simplex` and `brain` were trained with: 32 x 32, minutes on two cores."""


def small_recipe(
    data: str, noise: str = "simplex", options: Options | None = None, **changes: object
) -> Recipe:
    """`SMALL` for other pictures or another noise law; the brain set is augmented, one head being few.

    options: the law's own parameters; None is `SMALL`'s octaves, and nothing for white noise.
    """
    known = {} if noise == "white" else SMALL.noise_options
    augment = ("brain",) if data.partition(":")[0] == "brain" else ()
    given = {"data": data, "noise": noise, "noise_options": known if options is None else options}
    return replace(SMALL, augment=augment, **{**given, **changes})  # pyright: ignore[reportArgumentType]
