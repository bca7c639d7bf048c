"""The whole system in minutes on a laptop CPU: bodies of known physics, 32 x 32, 8 frames.

    bash launch/quickstart.sh

or, one by one,

    videojam prepare --config configs/quickstart.py           --workdir OUT/data
    videojam train   --config configs/quickstart.py:base      --workdir OUT/base
    videojam train   --config configs/quickstart.py:videojam  --workdir OUT/videojam
    videojam report  --workdir OUT
"""

from ml_collections import ConfigDict


def get_config(arg: str = "videojam") -> ConfigDict:
    joint = {"base": False, "videojam": True}[arg]
    return ConfigDict(
        {
            "clip": {"frames": 8, "height": 32, "width": 32, "fps": 8.0},
            "source": {
                "name": "simulated",
                "clips": 2048,
                "bodies": (1, 1),
                "pan": 0.0,
            },
            "motion": {"flow": "exact"},
            "autoencoder": {"name": "pixels", "patch": (1, 4, 4), "scale": 2.0},
            "text": {"max_length": 48, "width": 96, "blocks": 1, "heads": 4},
            "model": {
                "motion": joint,
                "patch": (1, 2, 2),
                "trunk": {"blocks": 4, "width": 128, "ffn": 384, "heads": 4},
            },
            "optimizer": {
                "learning_rate": 1e-3,
                "warmup_steps": 50,
                "weight_decay": 0.01,
                "ema_decay": 0.99,
            },
            "train": {
                "dataset": "../data",
                "init_from": "../base" if joint else "",
                "steps": 300 if joint else 500,
                "batch_size": 16,
                "log_every": 25,
                "checkpoint_every": 250,
            },
            "sample": {"steps": 32, "inner_steps": 16, "w_text": 2.0, "w_motion": 1.0,
                       "emulate": 100, "enlarge": 6},
        }
    )
