"""Every config key there is, with its default, its range and what it means."""

import dataclasses
from typing import Any

REQUIRED = object()


@dataclasses.dataclass(frozen=True)
class Key:
    """One config key: its default (or REQUIRED), what it means and what is allowed."""

    default: Any
    doc: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple | None = None  # of a tuple: of each of its values
    kind: type | None = None  # where the default does not tell the type
    length: int | None = None  # of a tuple
    path: bool = False  # of a file or folder (or several); a relative one is made absolute


@dataclasses.dataclass(frozen=True)
class Variants:
    """A section whose keys depend on its `name`."""

    default: str
    sections: dict[str, dict]


@dataclasses.dataclass(frozen=True)
class Changes:
    """A section of any keys of another config, which is checked where that is read."""

    doc: str


RANDOM = "random: random ones, for a try"

# What keys of versions before became.
REPLACED = {
    "sample.inner_steps": "config.sample.inner_share, a share of config.sample.steps: 0.5 for the "
                          "first half",
}

TRUNKS = {
    "movie_gen": {
        "blocks": Key(REQUIRED, "transformer blocks", minimum=1, kind=int),
        "width": Key(REQUIRED, "width of a token", minimum=1, kind=int),
        "ffn": Key(REQUIRED, "hidden width of SwiGLU", minimum=1, kind=int),
        "heads": Key(REQUIRED, "attention heads", minimum=1, kind=int),
    },
}

SCHEMA: dict[str, Any] = {
    "seed": Key(0, "of everything random; with the step it fixes a run", minimum=0),
    "clip": {
        "frames": Key(REQUIRED, "frames of a clip", minimum=2, kind=int),
        "height": Key(REQUIRED, "rows", minimum=8, kind=int),
        "width": Key(REQUIRED, "columns", minimum=8, kind=int),
        "fps": Key(REQUIRED, "frames a second", minimum=0.1, kind=float),
        "stride": Key(0, "frames between the starts of clips cut from one file; 0: the clip's "
                         "length", minimum=0),
        "crop": Key("centre", "which part of a wider or taller frame", choices=("centre", "random")),
    },
    "source": Variants("simulated", {
        "simulated": {
            "clips": Key(4096, "how many", minimum=1),
            "seed": Key(0, "of the clips", minimum=0),
            "kinds": Key(("fall", "bounce", "collide", "roll", "swing", "spin"), "of motion"),
            "bodies": Key((1, 3), "fewest and most bodies in a clip", length=2, minimum=1),
            "pan": Key(0.5, "fastest camera, pixels a frame", minimum=0.0),
            "shapes": Key(("disc", "ring", "square", "triangle", "star"), "of the bodies"),
            "texture": Key(1.0, "contrast of the textures; 0: plain surfaces", minimum=0.0,
                           maximum=1.0),
        },
        "folder": {
            "path": Key(REQUIRED, "a folder of videos with captions", kind=str),
        },
        "tfds": {
            "dataset": Key(REQUIRED, "NAME/CONFIG:SPLIT of a prepared TFDS data set", kind=str),
            "data_dir": Key("", "where TFDS keeps it; empty: TFDS's default"),
        },
    }),
    "motion": {
        "flow": Key("dis", "exact (simulated clips), dis (on the CPU) or raft (on the devices)",
                    choices=("exact", "dis", "raft")),
        "dis_preset": Key("medium", "of DIS", choices=("ultrafast", "fast", "medium")),
        "raft": {
            "weights": Key("", "of RAFT: torchvision's or princeton-vl's file, or what `convert` "
                               f"made of one; {RANDOM}", path=True),
            "size": Key("large", "of random weights; files tell theirs", choices=("large", "small")),
            "updates": Key(12, "of the flow; VBench takes 20", minimum=1),
            "pairs": Key(16, "consecutive pairs of frames, of each clip of a batch, worked on at "
                             "once", minimum=1),
            "correlation": Key("all_pairs", "how correlations are kept: on_demand is for large "
                                            "frames, whose pairs of pixels do not fit",
                               choices=("all_pairs", "on_demand")),
            "dtype": Key("float32", "of its convolutions", choices=("float32", "bfloat16")),
        },
        "sigma": Key(0.15, "displacement, as a share of the frame's diagonal, that is drawn at "
                           "full intensity", minimum=1e-6, maximum=1.0),
    },
    "autoencoder": Variants("pixels", {
        "pixels": {
            "patch": Key((1, 1, 1), "frames, rows, columns in one latent position", length=3,
                         minimum=1),
            "shift": Key(0.0, "subtracted from pixels in [-1, 1]"),
            "scale": Key(1.0, "then multiplied", minimum=1e-6),
        },
        "tae": {
            "weights": Key("", "workdir of a `videojam train` of a temporal autoencoder, or of a "
                               f"converted one; {RANDOM}. Training on prepared clips needs none",
                           path=True),
            "compression": Key((8, 8, 8), "frames, rows, columns in one latent position",
                               length=3, minimum=1),
            "channels": Key(16, "of a latent", minimum=1),
            "tile": Key(32, "frames that are encoded or decoded at once", minimum=1),
            "overlap": Key(16, "frames that decoded tiles share, and blend", minimum=0),
            "context": Key(0, "frames on either side that an encoded tile sees beside its own; "
                              "some take the seams out of latents", minimum=0),
            "dtype": Key("float32", "of the computation", choices=("float32", "bfloat16")),
        },
        "wan_vae": {
            "weights": Key("", "the Wan 2.1 autoencoder as diffusers keeps it (a folder or a "
                               f"safetensors file), or what `convert` made of it; {RANDOM}. "
                               "Training on prepared clips needs none", path=True),
            "chunk": Key(1, "latent frames that are encoded or decoded at once", minimum=1),
            "dtype": Key("float32", "of the computation", choices=("float32", "bfloat16")),
        },
        "precomputed": {
            "compression": Key(REQUIRED, "frames, rows, columns in one latent position",
                               length=3, minimum=1, kind=tuple),
            "channels": Key(REQUIRED, "of a latent", minimum=1, kind=int),
        },
    }),
    "text": Variants("bytes", {
        "bytes": {
            "max_length": Key(128, "tokens, one a byte and one more", minimum=1),
            "width": Key(256, "of the trained encoder", minimum=1),
            "blocks": Key(2, "of the trained encoder", minimum=0),
            "heads": Key(4, "of the trained encoder", minimum=1),
        },
        "pretrained": {
            "weights": Key((), "of each encoder, T5's family or CLIP: a folder as Hugging Face "
                               "keeps it, or what `convert` made of it. Training on prepared "
                               "clips needs none", path=True),
            "max_lengths": Key(REQUIRED, "tokens, of each encoder", minimum=1, kind=tuple),
            "widths": Key(REQUIRED, "of an embedding, of each encoder", minimum=1, kind=tuple),
            "reads": Key((), "what each encoder is given: prompt, the whole of it, or quoted, what "
                             "stands in it in double quotation marks; empty: prompt, all of them",
                         choices=("prompt", "quoted")),
            "fps_prefix": Key(False, "FPS-24, or what clip.fps is, before a prompt that is read "
                                     "whole, as in Movie Gen"),
            "batch_size": Key(16, "captions encoded at once", minimum=1),
            "dtype": Key("bfloat16", "of the computation", choices=("float32", "bfloat16")),
        },
        "precomputed": {
            "max_length": Key(REQUIRED, "tokens", minimum=1, kind=int),
            "width": Key(REQUIRED, "of an embedding", minimum=1, kind=int),
        },
    }),
    "prepare": {
        "clips_per_shard": Key(512, "clips in one shard file", minimum=1),
        "batch_size": Key(32, "clips encoded at once", minimum=1),
        "workers": Key(2, "threads that decode clips", minimum=1),
    },
    "model": {
        "motion": Key(REQUIRED, "False: the base; True: VideoJAM", kind=bool),
        "patch": Key((1, 2, 2), "latent positions in one token", length=3, minimum=1),
        "trunk": Variants("movie_gen", TRUNKS),
        "dtype": Key("float32", "of the computation (parameters stay float32)",
                     choices=("float32", "bfloat16")),
        "remat": Key("none", "what the backward pass computes again: full, all of a block; "
                             "attention, all but splash attention; dots, all but that and the "
                             "products with weights; offload, as full with the blocks' inputs in the "
                             "host's memory",
                     choices=("none", "dots", "attention", "full", "offload")),
        "unroll": Key(1, "blocks compiled side by side: faster on a CPU, slower to compile",
                      minimum=1),
        "attention": Key("auto", "implementation; auto: splash on TPU, cudnn on GPU in bfloat16, "
                                 "else xla", choices=("auto", "xla", "cudnn", "splash")),
        "attention_blocks": Key((512, 512), "queries and keys that splash holds at once, "
                                            "multiples of 128", length=2, minimum=128),
    },
    "loss": {
        "p_drop_text": Key(0.3, "share of samples without text", minimum=0.0, maximum=1.0),
        "p_drop_motion": Key(0.2, "share of samples whose motion input is zero", minimum=0.0,
                             maximum=1.0),
        "motion_weight": Key(1.0, "of the motion half", minimum=0.0),
        "motion_target_when_dropped": Key(True, "a sample without motion input still has its "
                                                "motion target"),
        "sigma_min": Key(0.0, "noise left at t = 1 (Movie Gen: 1e-5)", minimum=0.0, maximum=1.0),
        "time_kind": Key("logit_normal", "distribution of t", choices=("logit_normal", "uniform")),
        "time_mean": Key(0.0, "of the logit"),
        "time_std": Key(1.0, "of the logit", minimum=1e-3),
    },
    "optimizer": {
        "learning_rate": Key(REQUIRED, "after the warm-up", minimum=0.0, kind=float),
        "warmup_steps": Key(0, "linear from zero", minimum=0),
        "decay_steps": Key(0, "last steps, in which the rate falls linearly to zero", minimum=0),
        "b1": Key(0.9, "AdamW", minimum=0.0, maximum=1.0),
        "b2": Key(0.95, "AdamW", minimum=0.0, maximum=1.0),
        "eps": Key(1e-8, "AdamW", minimum=0.0),
        "weight_decay": Key(0.0, "of matrices", minimum=0.0),
        "first_moment_dtype": Key("float32", "AdamW's first moment; bfloat16 saves 2 bytes a "
                                             "parameter", choices=("float32", "bfloat16")),
        "clip_norm": Key(1.0, "greatest global norm of the gradient", minimum=1e-12),
        "ema_decay": Key(0.9999, "of the averaged parameters", minimum=0.0, maximum=1.0),
    },
    "train": {
        "dataset": Key(REQUIRED, "prepared clips; a relative path starts at the workdir", kind=str),
        "init_from": Key("", "workdir of the run to start from (a base is widened for VideoJAM); "
                             "a relative path starts at the workdir"),
        "steps": Key(REQUIRED, "in all", minimum=1, kind=int),
        "batch_size": Key(REQUIRED, "clips a step over all devices", minimum=1, kind=int),
        "accumulate": Key(1, "parts of a batch done one after the other, to save memory",
                          minimum=1),
        "log_every": Key(50, "steps", minimum=1),
        "checkpoint_every": Key(1000, "steps", minimum=1),
        "keep": Key(2, "checkpoints", minimum=1),
        "sample_every": Key(0, "steps between sample clips; 0: none", minimum=0),
        "sample_prompts": Key((), "captions of the sample clips; empty: the first of the data"),
        "loader_threads": Key(2, "threads that read records", minimum=1),
    },
    "sample": {
        "schedule": Key("linear_quadratic", "of the times",
                        choices=("linear", "linear_quadratic", "shifted")),
        "steps": Key(100, "from noise to data", minimum=2),
        "emulate": Key(1000, "linear steps that linear_quadratic emulates", minimum=2),
        "shift": Key(3.0, "of the shifted schedule", minimum=1e-6),
        "solver": Key("euler", "of the ODE", choices=("euler", "midpoint", "heun")),
        "guidance": Key("videojam", "a row of the ablation table, see `diffusion.guidance.RULES`",
                        choices=("videojam", "no_text_guidance", "no_inner_guidance",
                                 "no_optical_flow", "ip2p", "dit")),
        "w_text": Key(5.0, "the paper's w1"),
        "w_motion": Key(3.0, "the paper's w2"),
        "inner_share": Key(0.5, "share of the steps, the first ones, with the motion's guidance; "
                                "then text alone; rounded to whole steps",
                           minimum=0.0, maximum=1.0),
        "batch_size": Key(8, "clips sampled at once", minimum=1),
        "ema": Key(True, "sample from the averaged parameters"),
        "enlarge": Key(1, "pixels shown for one of the clip (small clips)", minimum=1),
    },
    "mesh": {
        "data": Key(-1, "devices that hold whole copies of the parameters", minimum=-1),
        "fsdp": Key(1, "devices that share one copy of the parameters", minimum=-1),
        "context": Key(1, "devices that share one clip's tokens", minimum=-1),
        "tensor": Key(1, "devices that share one layer's heads", minimum=-1),
    },
}

# What `videojam train` reads to train a temporal autoencoder, on clips as their source gives
# them: a config that has the section `tae`.
AUTOENCODER: dict[str, Any] = {
    "seed": SCHEMA["seed"],
    "clip": SCHEMA["clip"],
    "source": SCHEMA["source"],
    "motion": {
        "flow": Key("dis", "of the flow clips: exact (simulated clips) or dis",
                    choices=("exact", "dis")),
        "dis_preset": SCHEMA["motion"]["dis_preset"],
        "sigma": SCHEMA["motion"]["sigma"],
    },
    "tae": {
        "compression": Key((8, 8, 8), "frames, rows, columns in one latent position, powers of "
                                      "two", length=3, minimum=1),
        "channels": Key(16, "of a latent", minimum=1),
        "width": Key(128, "of the finest level", minimum=1),
        "multipliers": Key((1, 2, 4, 4), "of the width, of each level", minimum=1),
        "blocks": Key(2, "residual blocks of each level (one more in the decoder)", minimum=0),
        "norm": Key(True, "normalise within residual blocks; a small net learns far faster without"),
        "attention": Key(True, "over space and over time at the coarsest level"),
        "dtype": Key("float32", "of the computation", choices=("float32", "bfloat16")),
        "remat": Key(False, "compute blocks again in the backward pass, to save memory"),
    },
    "reconstruction": {
        "l1": Key(1.0, "weight of the mean absolute error", minimum=0.0),
        "l2": Key(0.0, "weight of the mean squared error, which short runs get further with",
                  minimum=0.0),
        "gradient": Key(1.0, "weight of the error of finite differences, at several scales",
                        minimum=0.0),
        "gradient_scales": Key(3, "each of half the resolution of the one before", minimum=1),
        "kl": Key(1e-6, "weight of the KL divergence from N(0, 1)", minimum=0.0),
        "outlier": Key(0.01, "weight of Movie Gen's outlier penalty; its 1e5 is taken to stand "
                             "beside sums over a clip, here it stands beside means", minimum=0.0),
        "outlier_r": Key(3.0, "standard deviations that are no outlier", minimum=0.0),
        "adversarial": Key(0.0, "weight of the discriminator's judgement; 0: none", minimum=0.0),
        "adversarial_start": Key(0, "steps before which it has no weight", minimum=0),
        "discriminator_width": Key(64, "of its first layer", minimum=1),
        "flow_share": Key(0.25, "share of a batch that is flow clips", minimum=0.0, maximum=1.0),
        "image_share": Key(0.25, "share of the steps that see first frames alone", minimum=0.0,
                           maximum=1.0),
        "held_out": Key(16, "last clips of the source, kept from training and measured",
                        minimum=1),
        "latent_clips": Key(256, "clips over which the latents' shift and scale are measured, "
                                 "at each checkpoint", minimum=1),
    },
    "optimizer": SCHEMA["optimizer"],
    "train": {
        key: SCHEMA["train"][key]
        for key in ("init_from", "steps", "batch_size", "log_every", "checkpoint_every", "keep",
                    "sample_every", "loader_threads")
    },
    "mesh": SCHEMA["mesh"],
}

# What `videojam evaluate` reads. Runs are trained from configs of their own.
ROWS = ("base", "control", "videojam", "no_text_guidance", "no_inner_guidance",
        "no_optical_flow", "ip2p")
EXPERIMENT: dict[str, Any] = {
    "experiment": Variants("ablation", {
        "ablation": {
            "rows": Key(ROWS, "of the table: baselines, VideoJAM, and rules of Table 3"),
        },
        "permutation": {
            "times": Key(100, "times from noise to data at which the loss is measured", minimum=2),
        },
        "when": {
            "kept": Key((0.2, 0.6, 0.8), "shares of the sampling steps that are left out: clips "
                                         "are noised to there and sampled on",
                        minimum=0.0, maximum=1.0),
        },
        "guidance": {
            "w_text": Key((0.0, 2.0, 5.0, 8.0), "values of the paper's w1"),
            "w_motion": Key((0.0, 1.0, 3.0, 5.0), "values of the paper's w2"),
            "inner": Key((0.25, 0.5, 1.0), "shares of the sampling steps that have the motion's "
                                           "guidance, at the weights of the run's own config",
                         minimum=0.0, maximum=1.0),
        },
    }),
    "runs": {
        "base": Key(REQUIRED, "FILE.py[:ARG] of the base's config, or the workdir of a trained "
                              "run; a relative path starts at this config's folder", kind=str),
        "control": Key("", "the same for the base trained on without motion; empty: none"),
        "videojam": Key(REQUIRED, "the same for VideoJAM", kind=str),
    },
    "change": Changes("any keys of the runs' configs, changed in all of them"),
    "held_out": Changes("any keys of the runs' configs, changed for the clips that are measured: "
                        "another seed of the simulator, another folder"),
    "seeds": Key((0,), "of the trainings; each trains every run once", minimum=0),
    "clips": Key(64, "to measure", minimum=2),
    "prompts": Key("", "captions to sample: a file, or a set of the package (motion64); empty: "
                       "those of the held-out clips"),
    "shown": Key(8, "clips shown in the report", minimum=1),
    "sample_seed": Key(0, "of the noise that sampling starts from", minimum=0),
}
