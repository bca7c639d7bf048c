"""The paper's VideoJAM-30B: 35,000 steps of fine-tuning with motion, batch 256.

    videojam train --config configs/videojam_30b.py --workdir RUNS/videojam_30b \\
        --config.train.init_from=../dit_30b

arXiv 2502.02492 fine-tunes Movie Gen's 30B transformer (arXiv 2410.13720): 48 blocks
of width 6144, SwiGLU 16384, 48 heads, on clips of 128 frames of 256 x 256 at
24 fps. The temporal autoencoder makes latents of 16 x 32 x 32 x 16, patches of
1 x 2 x 2 make 4,096 tokens.

Training reads prepared records alone; docs/models.md says how they are made.

Trained with a fixed learning rate of 5e-6 on about 3 million clips, text dropped in
30 % and motion in 20 % of the samples, t ~ logit-normal(0, 1).
Hardware in the paper: 256 A100. Expected result there: VBench motion
92.4 against 88.1 of the base. Not run by us.
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
                    "blocks": 48,
                    "width": 6144,
                    "ffn": 16_384,
                    "heads": 48,
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
                "init_from": "../dit_30b",
                "steps": 35_000,
                "batch_size": 256,
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
            "mesh": {"data": 1, "fsdp": -1},
        }
    )
