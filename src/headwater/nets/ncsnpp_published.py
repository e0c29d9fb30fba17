"""The published score networks as configurations: score-SDE's of CIFAR-10 and Score-MRI's of knees.

Source: configs/ of yang-song/score_sde_pytorch (Apache-2.0), whose paths are the names here (Song et al.
2021, arXiv 2011.13456), and of HJ-harry/score-MRI (Apache-2.0; Chung and Ye 2022, arXiv 2110.05243).
"""

from __future__ import annotations

from dataclasses import replace

from headwater.nets.ncsnpp import DDPMPP, NCSNppConfig

_NCSNPP = NCSNppConfig(image_size=32, channels=3, dropout=0.1, num_scales=1000)

SCORE_NETWORKS: dict[str, NCSNppConfig] = {
    "ve/cifar10_ncsnpp_continuous": _NCSNPP,
    "ve/cifar10_ncsnpp_deep_continuous": replace(_NCSNPP, num_res_blocks=8),
    "vp/cifar10_ddpmpp_continuous": replace(DDPMPP, num_res_blocks=4),
    "vp/cifar10_ddpmpp_deep_continuous": DDPMPP,
    "ve/fastmri_knee_320_ncsnpp_continuous": NCSNppConfig(),
}
"""By the path of their configuration; a checkpoint's own name is only a number."""
