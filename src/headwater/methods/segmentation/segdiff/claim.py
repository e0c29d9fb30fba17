"""Does averaging masks help, does summing features beat concatenating the picture, and does all that beat a
plain network trained for as long? (Amit et al. 2021, sec. 4 and its ablations) Networks, measures and rule
are those of `mask_claim`."""

from headwater.methods.segmentation.shared.mask_claim import CONCATENATED, SUM, Settings, mask_claim

CLAIM = mask_claim(
    "segdiff",
    "SegDiff: masks drawn from noise",
    "Nine masks averaged segment better than one; the variance of the masks predicts the error; adding the "
    "picture's features beats concatenating the picture; the average beats a plain network trained as long.",
    quick=Settings((SUM,), pictures=24, shipped=True),
    full=Settings((SUM, CONCATENATED)),
)
