"""What one seed is used for: a number for every use, so that no two uses share their draws."""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class Purpose(IntEnum):
    """The part of a key that follows the seed: `derive(seed, Purpose.WEIGHTS, ...)`.

    The numbers are part of what makes a run repeatable: one that changes, changes every result of its use.
    A new use takes a new number; `unique` refuses one that is taken.
    """

    # Training, of whatever kind.
    ORDER = 1
    """In which order items are gone through."""
    STEP = 0x53544550
    """What a batch's loss draws from torch's own generator, such as dropout."""
    HELD_OUT = 0x48454C44
    """Which items are held out."""

    # Training of a prior.
    TIMESTEP = 2
    NOISE = 3
    FLIP = 4
    HUE = 5
    AUGMENT = 6
    LABEL = 7
    """Which labels are dropped."""
    DROPOUT = 8
    WEIGHTS = 11
    SAMPLES = 12
    """What the page of a training shows."""

    MEASURED = 13
    """The noise of measurements that are made up."""

    # Training of a discrete chain.
    CHAIN_NOISE = 0x44334E
    CHAIN_TIMESTEPS = 0x44334C

    # Methods.
    D3PM_WEIGHTS = 0x4433_5031
    D3PM_WRITE = 0x4433_5032
    D3PM_BOUND = 0x4433_5033
    D3PM_WINDOWS = 0x44335700
    D3PM_IMAGES_WEIGHTS = 0x4433_4931
    D3PM_IMAGES_FLIPS = 0x4433_4932
    D3PM_IMAGES_SAMPLE = 0x4433_4933
    D3PM_IMAGES_BOUND = 0x4433_4934
    DIFFUSEQ_WEIGHTS = 0x5345_5131
    CAPTIONER_WEIGHTS = 0x4350_0001
    CAPTIONER_ENCODERS = 0x4350_0002
    GLIDE_WEIGHTS = 0x474C_4431
    CSDI_TRAINING = 0x43534449
    TIMEGRAD_TRAINING = 0x5447_5201
    TIMEGRAD_PATHS = 0x5447_5202
    MASK_TIMESTEPS = 0x4D4C564C
    MASK_NOISE = 0x4D4E4F49
    MASK_WEIGHTS = 0x4D574754
    MASK_SAMPLES = 0x4D41534B
    PICTURED_WEIGHTS = 0x5049_4301
    PICTURED_LEVELS = 0x5049_4302
    PICTURED_NOISE = 0x5049_4303
    PICTURED_SAMPLES = 0x5049_4304
    PICTURED_MIRRORS = 0x5049_4305
    PALETTE_TASKS = 0x5041_4C01
    PALETTE_HOLES = 0x5041_4C02
    SDM_WEIGHTS = 0x5344_4D01
    SDM_BATCHES = 0x5344_4D02
    """Timesteps, mirrors and dropped maps of a batch."""
    SDM_NOISE = 0x5344_4D03
    SDM_SAMPLES = 0x5344_4D04
    DOMAIN_WEIGHTS = 0x4547_5301
    DOMAIN_TIMESTEPS = 0x4547_5302
    DOMAIN_NOISE = 0x4547_5303
    """What EGSDE's classifier of domains is trained with."""
    DARL_WEIGHTS = 0x4441_5201
    DARL_BATCHES = 0x4441_5202
    DARL_NOISE = 0x4441_5203
    DARL_TREES = 0x4441_5204
    DARL_FAKES = 0x4441_5205
    """What DARL's discriminators are shown of earlier fakes."""
    CLASSIFIER_MEMBER = 0x4D454D42
    """A member of DDPM-Seg's ensemble."""
    FEATURE_FIELD = 0x4649454C44
    """The one noise field with which DDPM-Seg reads features."""
    CLUSTERS = 0x434C5553
    DATASET_SAMPLES = 0x4444_4401
    """Pictures that DatasetDDPM draws."""
    CHANGE_WEIGHTS = 0x4443_4401
    CHANGE_TRAINING = 0x4443_4402
    """Noise at which DDPM-CD reads the features that it learns from."""
    CHANGE_NOISE = 0x4443_4403

    # Baselines and attacks.
    AUTOREGRESSIVE_WEIGHTS = 0x4152_3031
    SUPERVISED = 0x53555045
    AUTOENCODER = 0x4145
    PGD = 0x5354415254
    APGD = 0x41504744
    ATTACK = 0x41
    RESTART = 0x5253_5401
    SQUARE = 0x5351_5501
    VOTE = 0x56
    CERTIFY = 0x43455254
    FIXED = 0x46
    """The votes of an attack that is judged with the same draws for all."""
