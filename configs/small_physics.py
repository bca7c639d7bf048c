"""VideoJAM on simulated physics, 64 x 64, 16 frames, for one GPU: about 30 M parameters.

    videojam prepare --config configs/small_physics.py           --workdir OUT/data
    videojam train   --config configs/small_physics.py:base      --workdir OUT/base
    videojam train   --config configs/small_physics.py:videojam  --workdir OUT/videojam
    videojam report  --workdir OUT

Hardware: one GPU of 16 GB or more (bfloat16); it runs on a CPU too, at some
minutes a step. Preparing its 50,000 clips takes about 7 minutes on two cores and 5 GB
of disk. No result is stated here, since it has not been trained on a GPU yet.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "videojam") -> ConfigDict:
    # The control is what VideoJAM is fairly compared with: the base, trained on without motion.
    joint = {"base": False, "control": False, "videojam": True}[arg]
    further = arg != "base"
    return ConfigDict(
        {
            "clip": {"frames": 16, "height": 64, "width": 64, "fps": 16.0},
            "source": {"name": "simulated", "clips": 50_000, "bodies": (1, 3), "pan": 0.5},
            "motion": {"flow": "exact"},
            "autoencoder": {"name": "pixels", "patch": (1, 4, 4), "shift": -0.3, "scale": 4.0},
            "text": {"max_length": 128, "width": 256, "blocks": 2, "heads": 4},
            "model": {
                "motion": joint,
                "patch": (1, 2, 2),
                "trunk": {"blocks": 11, "width": 384, "ffn": 1024, "heads": 6},
                "dtype": "bfloat16",
            },
            # As in quickstart.py: what is decided in a clip is decided near the noise.
            "loss": {"time_mean": -2.0, "time_std": 1.5},
            "optimizer": {
                "learning_rate": 1e-4 if further else 3e-4,
                "warmup_steps": 500,
                "weight_decay": 0.01,
                "ema_decay": 0.9995,
            },
            "train": {
                "dataset": "../data",
                "init_from": "../base" if further else "",
                "steps": 20_000 if further else 40_000,
                "batch_size": 64,
                "log_every": 100,
                "checkpoint_every": 2_000,
                "sample_every": 5_000,
            },
            "sample": {"enlarge": 3},
        }
    )
