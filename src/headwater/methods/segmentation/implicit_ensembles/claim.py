"""Does averaging masks of one network help, is the average as good as a plain network trained for as long,
and do the masks differ as annotators do? (Wolleb et al. 2022, sec. 3) Networks, measures and rule are those
of `mask_claim`."""

from headwater.methods.segmentation.shared.mask_claim import IMPLICIT, mask_claim

CLAIM = mask_claim(
    "implicit-ensembles",
    "Implicit ensembles: many masks of one network",
    "Nine masks averaged segment better than one and no worse than a plain network trained as long; they "
    "differ where and as annotators do.",
    (IMPLICIT,),
)
