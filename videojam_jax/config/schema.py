"""Every config key there is. What a key means stands at its field, in the section it is of."""

import dataclasses

from videojam_jax.config.sampling import SampleOptions
from videojam_jax.config.training import OptimizerOptions, RunOptions, TrainOptions
from videojam_jax.data.clip import ClipSpec
from videojam_jax.data.prepare import PrepareOptions
from videojam_jax.data.simulate import SimulatedOptions
from videojam_jax.data.sources import FolderOptions
from videojam_jax.data.tfds_source import TfdsOptions
from videojam_jax.diffusion.loss import LossOptions
from videojam_jax.keys import (
    CLIPS,
    HOST,
    MODEL,
    REQUIRED,
    SAMPLES,
    TRAINING,
    config_key,
    part,
    same,
    variants,
)
from videojam_jax.models.autoencoders.pixels import Pixels
from videojam_jax.models.autoencoders.precomputed import Precomputed
from videojam_jax.models.autoencoders.reconstruction import ReconstructionOptions
from videojam_jax.models.autoencoders.tae import Tae, TaeNet
from videojam_jax.models.autoencoders.wan_vae import WanVae
from videojam_jax.models.compute import ComputeOptions
from videojam_jax.models.text.bytes import ByteEncoder
from videojam_jax.models.text.precomputed import PrecomputedText
from videojam_jax.models.text.pretrained import PretrainedOptions
from videojam_jax.models.trunks.movie_gen import MovieGenTrunk
from videojam_jax.motion.options import FlowClipOptions, MotionOptions
from videojam_jax.parallel.mesh import MeshOptions

# What keys of versions before became.
REPLACED = {
    "sample.inner_steps": "config.sample.inner_share, a share of config.sample.steps: 0.5 for the "
                          "first half",
}  # fmt: skip

TRUNKS = {"movie_gen": MovieGenTrunk}


@dataclasses.dataclass(frozen=True)
class TaeOptions:
    """A temporal autoencoder that stands frozen, `config.autoencoder` of the name tae."""

    weights: str = config_key(
        "",
        "workdir of a `videojam train` of a temporal autoencoder, or of a converted one; "
        "builtin:NAME: weights that come with the package; random: random ones, for a try. "
        "Training on prepared clips needs none",
        path=True,
        tags=(HOST,),
    )
    compression: tuple[int, int, int] = same(
        TaeNet,
        "compression",
        doc="frames, rows, columns in one latent position",
        tags=(CLIPS, MODEL),
    )
    channels: int = same(TaeNet, "channels", tags=(CLIPS, MODEL))
    tile: int = same(Tae, "tile")
    overlap: int = same(Tae, "overlap")
    context: int = same(Tae, "context")
    dtype: str = same(TaeNet, "dtype", tags=(CLIPS,))


@dataclasses.dataclass(frozen=True)
class WanVaeOptions:
    """Wan 2.1's autoencoder, `config.autoencoder` of the name wan_vae."""

    weights: str = config_key(
        "",
        "the Wan 2.1 autoencoder as diffusers keeps it (a folder or a safetensors file), or what "
        "`convert` made of it; random: random ones, for a try. Training on prepared clips needs "
        "none",
        path=True,
        tags=(HOST,),
    )
    chunk: int = same(WanVae, "chunk")
    dtype: str = same(TaeNet, "dtype", tags=(CLIPS,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions(ComputeOptions):
    """The base or VideoJAM, `config.model`."""

    motion: bool = config_key(
        REQUIRED, "False: the base; True: VideoJAM", tags=(MODEL, TRAINING)
    )
    patch: tuple[int, int, int] = config_key(
        (1, 2, 2), "latent positions in one token", minimum=1, tags=(MODEL, TRAINING)
    )
    trunk: dict = variants("movie_gen", TRUNKS, tags=(MODEL, TRAINING))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What `prepare`, `train` and `sample` read."""

    seed: int = config_key(
        0, "of everything random; with the step it fixes a run", minimum=0, tags=(TRAINING,)
    )
    clip: ClipSpec = part(ClipSpec, tags=(CLIPS, SAMPLES, TRAINING))
    source: dict = variants(
        "simulated",
        {"simulated": SimulatedOptions, "folder": FolderOptions, "tfds": TfdsOptions},
        tags=(TRAINING,),
    )
    motion: MotionOptions = part(MotionOptions, tags=(SAMPLES, TRAINING))
    autoencoder: dict = variants(
        "pixels",
        {
            "pixels": Pixels,
            "tae": TaeOptions,
            "wan_vae": WanVaeOptions,
            "precomputed": Precomputed,
        },
        tags=(SAMPLES, TRAINING),
        name_tags=(CLIPS, MODEL),
    )
    text: dict = variants(
        "bytes",
        {"bytes": ByteEncoder, "pretrained": PretrainedOptions, "precomputed": PrecomputedText},
        tags=(SAMPLES, TRAINING),
        name_tags=(CLIPS, MODEL),
    )
    prepare: PrepareOptions = part(PrepareOptions)
    model: ModelOptions = part(ModelOptions, tags=(SAMPLES,))
    loss: LossOptions = part(LossOptions, tags=(TRAINING,))
    optimizer: OptimizerOptions = part(OptimizerOptions, tags=(TRAINING,))
    train: TrainOptions = part(TrainOptions)
    sample: SampleOptions = part(SampleOptions, tags=(SAMPLES,))
    mesh: MeshOptions = part(MeshOptions)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """What `train` reads to train a temporal autoencoder: a config that has the section `tae`.

    The clips are as their source gives them.
    """

    seed: int = same(Config, "seed")
    clip: ClipSpec = part(ClipSpec)
    source: dict = same(Config, "source")
    motion: FlowClipOptions = part(FlowClipOptions)
    tae: TaeNet = part(TaeNet)
    reconstruction: ReconstructionOptions = part(ReconstructionOptions)
    optimizer: OptimizerOptions = part(OptimizerOptions)
    train: RunOptions = part(RunOptions)
    mesh: MeshOptions = part(MeshOptions)
