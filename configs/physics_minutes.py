"""Simulated physics, 64 x 64, 16 frames, about 30 M parameters, a few minutes a run on one GPU.

The models of the experiments' size `small`:

    videojam evaluate --config configs/experiments/ablation.py:small --workdir OUT

or one by one, as `videojam prepare` and `videojam train --config configs/physics_minutes.py:base`.
As configs/small_physics.py, with a quarter of the tokens (a token is four frames deep), a
sixteenth of the steps, and base, control and VideoJAM trained equally long.

Hardware: one GPU of 16 GB or more (bfloat16). Not run on a GPU yet: that a run takes minutes
is an estimate, from 15 TFLOP a step.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "videojam") -> ConfigDict:
    joint = {"base": False, "control": False, "videojam": True}[arg]
    further = arg != "base"
    return ConfigDict(
        {
            "clip": {"frames": 16, "height": 64, "width": 64, "fps": 16.0},
            "source": {"name": "simulated", "clips": 20_000, "bodies": (1, 3), "pan": 0.5},
            "motion": {"flow": "exact"},
            "autoencoder": {"name": "pixels", "patch": (1, 4, 4), "shift": -0.3, "scale": 4.0},
            "text": {"max_length": 128, "width": 256, "blocks": 2, "heads": 4},
            "model": {
                "motion": joint,
                "patch": (4, 2, 2),
                "trunk": {"blocks": 11, "width": 384, "ffn": 1024, "heads": 6},
                "dtype": "bfloat16",
            },
            # As in quickstart.py: what is decided in a clip is decided near the noise.
            "loss": {"time_mean": -2.0, "time_std": 1.5},
            "optimizer": {
                "learning_rate": 2e-4 if further else 5e-4,
                "warmup_steps": 200,
                "decay_steps": 500,
                "weight_decay": 0.01,
                "ema_decay": 0.998,
            },
            "train": {
                "dataset": "../data",
                "init_from": "../base" if further else "",
                "steps": 2_500,
                "batch_size": 128,
                "log_every": 50,
                "checkpoint_every": 500,
            },
            "sample": {"batch_size": 64, "w_text": 3.0, "w_motion": 2.0, "enlarge": 3},
        }
    )
