"""Which motion VideoJAM is shown: how the flow of a clip is found, and how it is drawn."""

import dataclasses

from videojam_jax.keys import CLIPS, config_key, part, same
from videojam_jax.motion.estimators import DIS_PRESET, DIS_PRESETS
from videojam_jax.motion.latent import MotionCode
from videojam_jax.motion.raft import RaftOptions


@dataclasses.dataclass(frozen=True)
class MotionOptions(MotionCode):
    """Of prepared clips, `config.motion`."""

    flow: str = config_key(
        "dis",
        "exact (simulated clips), dis (on the CPU) or raft (on the devices)",
        choices=("exact", "dis", "raft"),
        tags=(CLIPS,),
    )
    dis_preset: str = config_key(
        DIS_PRESET, "of DIS", choices=tuple(DIS_PRESETS), tags=(CLIPS,)
    )
    raft: RaftOptions = part(RaftOptions)


@dataclasses.dataclass(frozen=True)
class FlowClipOptions:
    """Of the flow clips that an autoencoder is trained on, `config.motion` beside `config.tae`."""

    flow: str = config_key(
        "dis", "of the flow clips: exact (simulated clips) or dis", choices=("exact", "dis")
    )
    dis_preset: str = same(MotionOptions, "dis_preset")
    sigma: float = same(MotionCode, "sigma")
