"""The pictures that a recipe names."""

from __future__ import annotations

import torch

from headwater.data import shipped
from headwater.errors import UserError, need
from headwater.train.feed import Pictures
from headwater.train.recipe import Recipe


def gather(recipe: Recipe) -> Pictures:
    """Read the data of a recipe. UserError for unknown data or another number of channels."""
    channels, height, width = recipe.shape
    known = recipe.data.removesuffix("-hue") in shipped.names()
    need(known, f"no shipped set is called {recipe.data!r}: choose one of {', '.join(shipped.names())}")
    need(height == width, f"shipped sets are square: give shape [{channels}, {height}, {height}]")
    try:
        found = shipped.load(recipe.data, recipe.split, height, augmented=recipe.augmented, seed=recipe.seed)
    except ValueError as error:
        raise UserError(str(error)) from None
    has = found.images.shape[1]
    need(
        has == channels,
        f"{recipe.data} has {has} channels: give shape [{has}, {height}, {width}]",
    )
    labels = found.labels if found.labels is not None and found.labels.ndim == 1 else None
    name = recipe.data.removesuffix("-hue")
    licence = str(shipped.manifest().get(name, {}).get("licence", ""))
    classes = tuple(found.classes) if labels is not None else ()
    if labels is not None and (not classes or int(torch.max(labels)) >= len(classes)):
        labels, classes = None, ()
    return Pictures(found.images, labels, classes, licence)
