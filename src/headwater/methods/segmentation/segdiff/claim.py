"""Does averaging masks help, does summing features beat concatenating the picture, is the average as good as
a plain network trained for as long, and do the masks differ as annotators do? (Amit et al. 2021, sec. 4 and
its ablations) Networks, measures and rule are those of `mask_claim`."""

from headwater.methods.segmentation.shared.mask_claim import CONCATENATED, SUM, mask_claim

CLAIM = mask_claim(
    "segdiff",
    "SegDiff: masks drawn from noise",
    "Nine masks averaged segment better than one and no worse than a plain network trained as long; they "
    "differ where and as annotators do; adding the picture's features beats concatenating the picture.",
    (SUM, CONCATENATED),
)
