"""The base model of the paper's 4B runs: a Movie Gen transformer on video alone.

    videojam train --config configs/dit_4b.py --workdir RUNS/dit_4b

arXiv 2502.02492 fine-tunes a transformer of Movie Gen's kind (arXiv 2410.13720) of 32
blocks of width 3072, on clips of 128 frames of 256 x 256 at 24 fps. Movie Gen has no
model of this size, and neither paper tells its SwiGLU and heads: 8192 and 24 are ours, and
make 4.9 B parameters, cross-attention included. The temporal autoencoder makes latents of
16 x 32 x 32 x 16, patches of 1 x 2 x 2 make 4,096 tokens.

Training reads prepared records alone; docs/models.md says how they are made.

The paper starts from a base that was pretrained at far greater cost; this config
trains one from random parameters, or goes on from another with
`--config.train.init_from=WORKDIR`. Its learning rate is ours, the paper gives none
for the base.
`:control` trains it on without motion, as long and as VideoJAM is fine-tuned: what that is
fairly compared with.
Hardware: as the fine-tuning, 32 A100 (80 GB). Not run by us.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "base") -> ConfigDict:
    further = {"base": False, "control": True}[arg]
    fine_tuning = {"learning_rate": 5e-6, "warmup_steps": 0, "decay_steps": 0}
    return ConfigDict(
        {
            "clip": {"frames": 128, "height": 256, "width": 256, "fps": 24.0},
            "source": {"name": "folder", "path": "clips"},
            "motion": {"flow": "raft", "sigma": 0.15},
            "autoencoder": {"name": "tae", "compression": (8, 8, 8), "channels": 16, "tile": 32},
            # UL2, ByT5 and MetaCLIP. Movie Gen's MetaCLIP was trained on to 256 tokens; a public
            # CLIP has 77: write that in its place.
            "text": {
                "name": "pretrained",
                "max_lengths": (256, 128, 256),
                "widths": (4096, 1536, 1280),
                "reads": ("prompt", "quoted", "prompt"),
                "fps_prefix": True,
            },
            "model": {
                "motion": False,
                "patch": (1, 2, 2),
                "trunk": {
                    "name": "movie_gen",
                    "blocks": 32,
                    "width": 3072,
                    "ffn": 8_192,  # ours
                    "heads": 24,  # ours
                },
                "dtype": "bfloat16",
                "remat": "dots",
            },
            "loss": {
                "p_drop_text": 0.3,
                "sigma_min": 1e-5,
                "time_kind": "logit_normal",
                "time_mean": 0.0,
                "time_std": 1.0,
            },
            "optimizer": fine_tuning
            if further
            else {"learning_rate": 1e-4, "warmup_steps": 2_000, "weight_decay": 0.1},
            "train": {
                "dataset": "../data",
                "init_from": "../dit_4b" if further else "",
                "steps": 50_000 if further else 100_000,
                "batch_size": 32,
                "checkpoint_every": 1_000,
            },
            "sample": {
                "schedule": "linear_quadratic",
                "solver": "euler",
                "steps": 100,
                "guidance": "dit",
                "w_text": 5.0,
            },
            # Two devices a clip, so that a batch of 32 can be spread over 64.
            "mesh": {"data": 1, "fsdp": -1, "context": 2},
        }
    )
