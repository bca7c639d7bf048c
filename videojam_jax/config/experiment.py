"""The config of an experiment, which `videojam evaluate` reads; its runs have their own."""

import dataclasses

from videojam_jax.keys import REQUIRED, changes, config_key, part, variants


@dataclasses.dataclass(frozen=True)
class AblationOptions:
    rows: tuple[str, ...] = config_key(
        ("base", "control", "videojam", "no_text_guidance", "no_inner_guidance", "no_optical_flow",
         "ip2p"),
        "of the table: baselines, VideoJAM, and rules of Table 3",
    )  # fmt: skip
    paper: str = config_key(
        "4B", "the paper's model whose numbers stand beside ours", choices=("4B", "30B")
    )


@dataclasses.dataclass(frozen=True)
class PermutationOptions:
    times: int = config_key(
        100,
        "times at which the loss is measured: half of them steps of the sampler (or all of these, "
        "where they are fewer), the others on a line of t from noise to data",
        minimum=4,
    )
    permute: str = config_key(
        "frames",
        "frames: of the video, before the autoencoder, as the paper does, which reads the clips' "
        "source; latents: of the prepared clips, in time",
        choices=("frames", "latents"),
    )


@dataclasses.dataclass(frozen=True)
class WhenOptions:
    kept: tuple[float, ...] = config_key(
        (0.2, 0.6, 0.8),
        "shares of the sampling steps that are left out: clips are noised to there and sampled on",
        minimum=0.0,
        maximum=1.0,
    )


@dataclasses.dataclass(frozen=True)
class GuidanceOptions:
    w_text: tuple[float, ...] = config_key((0.0, 2.0, 5.0, 8.0), "values of the paper's w1")
    w_motion: tuple[float, ...] = config_key((0.0, 1.0, 3.0, 5.0), "values of the paper's w2")
    inner: tuple[float, ...] = config_key(
        (0.25, 0.5, 1.0),
        "shares of the sampling steps that have the motion's guidance, at the weights of the "
        "run's own config",
        minimum=0.0,
        maximum=1.0,
    )


@dataclasses.dataclass(frozen=True)
class HorizonOptions:
    times: int = config_key(
        60,
        "times from near noise to near data at which losses are measured, evenly spaced in the "
        "logit of t",
        minimum=2,
    )
    first: tuple[float, ...] = config_key(
        (0.0, 0.125, 0.25, 0.5, 0.75, 1.0),
        "shares of the sampling steps that one model does before the other goes on; 0 and 1, each "
        "model alone, are always among them",
        minimum=0.0,
        maximum=1.0,
    )


@dataclasses.dataclass(frozen=True)
class StepsOptions:
    at: tuple[float, ...] = config_key(
        (0.125, 0.25, 0.5, 0.75, 1.0),
        "shares of train.steps whose checkpoints of control and VideoJAM are sampled, beside the "
        "base, which is both at step 0",
        minimum=0.0,
        maximum=1.0,
    )
    first: float = config_key(
        0.5,
        "a further row: clips whose first sampling steps, this share, are VideoJAM's and the rest "
        "the control's; 0 or 1: none",
        minimum=0.0,
        maximum=1.0,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunsOptions:
    base: str = config_key(
        REQUIRED,
        "FILE.py[:ARG] of the base's config; or the workdir of a trained run, or builtin:NAME, "
        "which comes with the package; a relative path starts at this config's folder",
    )
    control: str = config_key(
        "", "the same for the base trained on without motion; empty: none"
    )
    videojam: str = config_key(REQUIRED, "the same for VideoJAM")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """Every key of an experiment."""

    experiment: dict = variants(
        "ablation",
        {
            "ablation": AblationOptions,
            "permutation": PermutationOptions,
            "when": WhenOptions,
            "guidance": GuidanceOptions,
            "horizon": HorizonOptions,
            "steps": StepsOptions,
        },
    )
    runs: RunsOptions = part(RunsOptions)
    change: dict = changes("any keys of the runs' configs, changed in all of them")
    held_out: dict = changes(
        "any keys of the runs' configs, changed for the clips that are measured: another seed of "
        "the simulator, another folder"
    )
    seeds: tuple[int, ...] = config_key(
        (0,), "of the trainings; each trains every run once", minimum=0
    )
    clips: int = config_key(64, "to measure", minimum=2)
    prompts: str = config_key(
        "",
        "captions to sample: a file, or a set of the package (motion64); empty: those of the "
        "held-out clips",
    )
    shown: int = config_key(8, "clips shown in the report", minimum=1)
    sample_seed: int = config_key(0, "of the noise that sampling starts from", minimum=0)
