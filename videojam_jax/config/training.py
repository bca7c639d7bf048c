"""The sections of a config that a training takes: optimizer, data, steps."""

import dataclasses

from ml_collections import FrozenConfigDict

from videojam_jax.diffusion.loss import LossOptions
from videojam_jax.keys import HOST, REQUIRED, TRAINING, config_key, make


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """The optimizer and the average of the parameters, `config.optimizer`.

    The learning rate is fixed after its warm-up, as in the paper, unless the last
    `decay_steps` of `total_steps` take it linearly to zero (for short runs).
    """

    rule: str = config_key(
        "adamw",
        "adamw, or muon: Muon for the matrices of the blocks and AdamW for the rest, at one "
        "learning rate; of the base and VideoJAM",
        choices=("adamw", "muon"),
    )
    learning_rate: float = config_key(REQUIRED, "after the warm-up", minimum=0.0)
    motion_rate: float = config_key(
        1.0,
        "times the learning rate, of the rows and columns that VideoJAM adds to W_in and W_out, "
        "which start at zero",
        minimum=0.0,
    )
    joint: bool = False  # whether there are such rows and columns
    warmup_steps: int = config_key(0, "linear from zero", minimum=0)
    decay_steps: int = config_key(
        0, "last steps, in which the rate falls linearly to zero", minimum=0
    )
    total_steps: int = 0  # read only where there is a decay
    b1: float = config_key(0.9, "AdamW", minimum=0.0, maximum=1.0)
    b2: float = config_key(0.95, "AdamW", minimum=0.0, maximum=1.0)
    eps: float = config_key(1e-8, "AdamW", minimum=0.0)
    weight_decay: float = config_key(0.0, "of matrices", minimum=0.0)
    first_moment_dtype: str = config_key(
        "float32",
        "AdamW's first moment; bfloat16 saves 2 bytes a parameter",
        choices=("float32", "bfloat16"),
    )
    clip_norm: float = config_key(1.0, "greatest global norm of the gradient", minimum=1e-12)
    skip_above: float = config_key(
        10.0,
        "where config.train.skip_bad_steps is not 0: a step whose gradient's norm is more than so "
        "many running means of it is left out",
        minimum=1.0,
    )
    skip_bad_steps: bool = False  # whether any is
    ema_decay: float = config_key(0.9999, "of the averaged parameters", minimum=0.0, maximum=1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """A run, whatever it trains: `config.train` beside `config.tae` is no more than this."""

    init_from: str = config_key(
        "",
        "workdir of the run to start from (a base is widened for VideoJAM), or builtin:NAME, which "
        "comes with the package; a relative path starts at the workdir",
    )
    steps: int = config_key(REQUIRED, "in all", minimum=1, tags=(TRAINING,))
    batch_size: int = config_key(
        REQUIRED, "clips a step over all devices", minimum=1, tags=(TRAINING,)
    )
    log_every: int = config_key(50, "steps", minimum=1)
    checkpoint_every: int = config_key(1000, "steps", minimum=1)
    checkpoint_minutes: float = config_key(
        15.0,
        "one is saved too when the last is so old: what a run loses that is killed without "
        "notice; 0: by steps alone",
        minimum=0.0,
    )
    keep: int = config_key(2, "checkpoints, the last ones", minimum=1)
    keep_every: int = config_key(
        0,
        "steps between checkpoints that are saved too, and kept for good, to go back to after a "
        "divergence; 0: none",
        minimum=0,
    )
    keep_steps: tuple[int, ...] = config_key(
        (), "of checkpoints that are saved too, and kept beside the last ones", minimum=1
    )
    sample_every: int = config_key(
        0, "steps between sample clips, before which a checkpoint is saved; 0: none", minimum=0
    )
    loader_threads: int = config_key(2, "threads that read records", minimum=1, tags=(HOST,))
    skip_bad_steps: int = config_key(
        0,
        "how many steps in a row may be left out, parameters and optimizer kept as they were, "
        "because the gradient is not finite or far too long (config.optimizer.skip_above); 0: none, "
        "the first that is not finite ends the run",
        minimum=0,
    )
    stall_minutes: float = config_key(
        15.0,
        "a process in which no step ends for so long (or for 20 usual steps, where that is "
        "longer) writes where its threads stand into its log and ends by status 75; 0: never",
        minimum=0.0,
    )
    slow_minutes: float = config_key(
        60.0,
        "the same while it starts, compiles, saves or shows clips; and how long the processes "
        "wait for one another's parts of a checkpoint",
        minimum=0.01,
    )
    alert: str = config_key(
        "",
        "a command, or an http(s) address, that is given one line of JSON when the run has ended, "
        "stops, diverges, stalls or becomes slow",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions(RunOptions):
    """A run on prepared clips, `config.train`."""

    dataset: str = config_key(
        REQUIRED, "prepared clips; a relative path starts at the workdir", tags=(HOST,)
    )
    skip_records: int = config_key(
        0,
        "records that cannot be read and that each process may pass over since its start, each "
        "for the one behind it; one more ends the run",
        minimum=0,
    )
    accumulate: int = config_key(
        1, "parts of a batch done one after the other, to save memory", minimum=1
    )
    sample_prompts: tuple[str, ...] = config_key(
        (), "captions of the sample clips; empty: the first of the data"
    )


def loss_options(config: FrozenConfigDict) -> LossOptions:
    return make(LossOptions, config.loss)
