"""Does averaging masks of one network help, and does their variance show where they are wrong? (Wolleb et al.
2022, sec. 3) Networks, measures and rule are those of `mask_claim`."""

from headwater.methods.segmentation.shared.mask_claim import IMPLICIT, Settings, mask_claim

CLAIM = mask_claim(
    "implicit-ensembles",
    "Implicit ensembles: many masks of one network",
    "Nine masks averaged segment better than one; the variance of the masks predicts the error; the average "
    "beats a plain network trained as long.",
    quick=Settings((IMPLICIT,), 200, pictures=24),
    full=Settings((IMPLICIT,)),
)
