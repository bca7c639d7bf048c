"""The paper's VideoJAM-4B: 50,000 steps of fine-tuning with motion, batch 32.

    videojam train --config configs/videojam_4b.py --workdir RUNS/videojam_4b \\
        --config.train.init_from=../dit_4b

arXiv 2502.02492 fine-tunes a transformer of Movie Gen's kind (arXiv 2410.13720) of 32
blocks of width 3072, on clips of 128 frames of 256 x 256 at 24 fps. Movie Gen has no
model of this size, and neither paper tells its SwiGLU and heads: 8192 and 24 are ours, and
make 4.9 B parameters, cross-attention included. The temporal autoencoder makes latents of
16 x 32 x 32 x 16, patches of 1 x 2 x 2 make 4,096 tokens.

Training reads prepared records alone; docs/models.md says how they are made.

Trained with a fixed learning rate of 5e-6 on about 3 million clips, text dropped in
30 % and motion in 20 % of the samples, t ~ logit-normal(0, 1).
Hardware in the paper: 32 A100. Expected result there: VBench motion
93.7 against 78.3 of the base. Not run by us.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
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
                "motion": True,
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
                "p_drop_motion": 0.2,
                "motion_weight": 1.0,
                "sigma_min": 1e-5,
                "time_kind": "logit_normal",
                "time_mean": 0.0,
                "time_std": 1.0,
            },
            "optimizer": {"learning_rate": 5e-6, "warmup_steps": 0, "decay_steps": 0},
            "train": {
                "dataset": "../data",
                "init_from": "../dit_4b",
                "steps": 50_000,
                "batch_size": 32,
                "checkpoint_every": 1_000,
            },
            "sample": {
                "schedule": "linear_quadratic",
                "solver": "euler",
                "steps": 100,
                "guidance": "videojam",
                "inner_share": 0.5,
                "w_text": 5.0,
                "w_motion": 3.0,
            },
            # Two devices a clip, so that a batch of 32 can be spread over 64.
            "mesh": {"data": 1, "fsdp": -1, "context": 2},
        }
    )
