"""The temporal autoencoder of configs/physics.py: 2 x 8 x 8, 12 channels, about 2 M parameters.

    videojam train --config configs/physics_tae.py --workdir OUT/tae
    videojam convert OUT/tae --out physics_tae

Its weights are in the package (videojam_jax/weights/physics_tae, with what came out), so that
nobody has to train it. A quarter of each batch is flow clips, since VideoJAM sends both through
the one autoencoder.
"""

from ml_collections import ConfigDict

KINDS = ("walk", "jog", "jump", "cartwheel", "wheel", "fall", "bounce", "roll", "collide")


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "clip": {"frames": 16, "height": 32, "width": 32, "fps": 8.0},
            "source": {
                "name": "simulated",
                "clips": 100_000,
                "kinds": KINDS,
                "shapes": ("disc", "square", "triangle"),
                "bodies": (1, 1),
                "pan": 1.0,
                "texture": 0.5,
            },
            "motion": {"flow": "exact"},
            "tae": {
                "compression": (2, 8, 8),
                "channels": 12,
                "patch": 4,
                "width": 48,
                "multipliers": (1, 2),
                "blocks": 1,
                "norm": False,
                "attention": False,
            },
            "reconstruction": {"l1": 0.5, "l2": 1.0, "gradient": 0.5, "flow_share": 0.25,
                               "image_share": 0.0, "held_out": 64},
            "optimizer": {
                "learning_rate": 4e-4,
                "warmup_steps": 100,
                "decay_steps": 5_000,
                "b2": 0.99,
                "ema_decay": 0.998,
            },
            "train": {
                "steps": 8_000,
                "batch_size": 4,
                "log_every": 50,
                "checkpoint_every": 500,
                "sample_every": 1_000,
            },
        }
    )  # fmt: skip
