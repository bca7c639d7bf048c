"""The whole system in minutes on a laptop CPU: plain bodies of known physics, 16 x 16, 6 frames.

    bash launch/quickstart.sh

or, one by one,

    videojam prepare --config configs/quickstart.py           --workdir OUT/data
    videojam train   --config configs/quickstart.py:base      --workdir OUT/base
    videojam train   --config configs/quickstart.py:videojam  --workdir OUT/videojam
    videojam report  --workdir OUT

Sized for two cores at about 150 GFLOP/s in all; README.md has the measured result.
What makes so short a training possible:

- A token is a 4 x 4 square through the whole clip. How a body moves is then mostly
  within tokens, which is learned far sooner than attention across frames.
- Latents are scaled to about unit variance, and `t` is drawn near the noise
  (mean -2 of the logit). A plain body shows through noise at t = 0.05 already: what is
  decided there (where it is, its colour, its way) is hardly seen with a mean of 0.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "videojam") -> ConfigDict:
    # The control is what VideoJAM is fairly compared with: the base, trained on without motion.
    joint = {"base": False, "control": False, "videojam": True}[arg]
    further = arg != "base"
    return ConfigDict(
        {
            "clip": {"frames": 6, "height": 16, "width": 16, "fps": 6.0},
            "source": {
                "name": "simulated",
                "clips": 8192,
                "kinds": ("fall", "bounce", "roll", "collide"),
                "shapes": ("disc", "square"),
                "bodies": (1, 1),
                "pan": 0.0,
                "texture": 0.0,
            },
            "motion": {"flow": "exact"},
            "prepare": {"clips_per_shard": 1024, "batch_size": 64},
            "autoencoder": {"name": "pixels", "patch": (1, 4, 4), "shift": -0.3, "scale": 4.0},
            "text": {"max_length": 44, "width": 96, "blocks": 1, "heads": 4},
            "model": {
                "motion": joint,
                "patch": (6, 1, 1),
                "trunk": {"blocks": 2, "width": 512, "ffn": 1024, "heads": 8},
                "unroll": 2,
            },
            "loss": {"time_mean": -2.0, "time_std": 1.5},
            "optimizer": {
                "learning_rate": 1e-3 if further else 2e-3,
                "warmup_steps": 50,
                "decay_steps": 300,
                "b2": 0.99,
                "weight_decay": 0.01,
                "ema_decay": 0.99,
            },
            "train": {
                "dataset": "../data",
                "init_from": "../base" if further else "",
                "steps": 800 if further else 900,
                "batch_size": 16,
                "log_every": 25,
                "checkpoint_every": 400,
            },
            "sample": {
                "steps": 32,
                "inner_share": 0.5,
                "emulate": 100,
                "w_text": 1.0,
                "w_motion": 0.5,
                "batch_size": 16,
                "enlarge": 10,
            },
        }
    )
