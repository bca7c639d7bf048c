"""The proving ground: figures that walk, jog, jump and turn cartwheels, wheels, bodies that fall.

    videojam prepare --config configs/physics.py           --workdir OUT/data
    videojam train   --config configs/physics.py:control   --workdir OUT/control
    videojam train   --config configs/physics.py:videojam  --workdir OUT/videojam
    videojam sample  --workdir OUT/videojam --prompt "a red figure walks to the right"

Clips of 16 frames of 32 x 32, textured, half of them with a moving camera, as latents of
configs/physics_tae.py (2 x 8 x 8, 12 channels), which is in the package. So is the base
(`builtin:physics_base`), which control and VideoJAM start from, as the paper's are fine-tuned;
`:base` trains one from nothing (how that one came about is told beside it).

Proportions are the paper's as far as a CPU allows: a token is one latent position, and its 12 + 12
numbers are an eighth of the trunk's width (the paper's 64 + 64 are a 24th).
"""

from ml_collections import ConfigDict

KINDS = ("walk", "jog", "jump", "cartwheel", "wheel", "fall", "bounce", "roll", "collide")


def get_config(arg: str = "videojam") -> ConfigDict:
    # The control is what VideoJAM is fairly compared with: the base, trained on without motion.
    joint = {"base": False, "control": False, "videojam": True}[arg]
    further = arg != "base"
    return ConfigDict(
        {
            "clip": {"frames": 16, "height": 32, "width": 32, "fps": 8.0},
            "source": {
                "name": "simulated",
                "clips": 16_384,
                "kinds": KINDS,
                "shapes": ("disc", "square", "triangle"),
                "bodies": (1, 1),
                "pan": 1.0,
                "texture": 0.5,
            },
            "motion": {
                "flow": "exact",
                # Of flow clips through physics_tae, measured on 750 of them.
                "latent_mean": (
                    -0.02, -2.12, 2.08, -3.99, -1.30, -0.08, -0.13, 1.17, 2.56, -2.93, -0.37, 0.40
                ),
                "latent_std": (
                    0.69, 0.98, 0.71, 0.70, 0.75, 0.78, 0.85, 0.76, 0.75, 0.89, 0.77, 0.76
                ),
            },
            "prepare": {"clips_per_shard": 1024, "batch_size": 32},
            "autoencoder": {
                "name": "tae",
                "weights": "builtin:physics_tae",
                "compression": (2, 8, 8),
                "channels": 12,
            },
            "text": {"max_length": 72, "width": 96, "blocks": 1, "heads": 4},
            "model": {
                "motion": joint,
                "patch": (1, 1, 1),
                "trunk": {"blocks": 4, "width": 192, "ffn": 512, "heads": 6},
                "unroll": 4,
            },
            # Near the noise is where a clip's motion is decided.
            "loss": {"time_mean": -1.0, "time_std": 1.4},
            "optimizer": {
                "rule": "muon",
                # The new rows and columns start at zero: at the trunk's rate they grow too slowly.
                "motion_rate": 10.0,
                "learning_rate": 1e-3 if further else 2e-3,
                "warmup_steps": 50 if further else 200,
                "decay_steps": 800 if further else 7_000,
                "b2": 0.99,
                "weight_decay": 0.01,
                "ema_decay": 0.99 if further else 0.995,
            },
            "train": {
                "dataset": "../data",
                "init_from": "builtin:physics_base" if further else "",
                "steps": 1_600 if further else 14_000,
                "batch_size": 16,
                "log_every": 50,
                "checkpoint_every": 500,
                # What the experiment over steps asks for.
                "keep_steps": (200, 400, 800, 1200) if further else (),
            },
            "sample": {
                "steps": 32,
                "inner_share": 0.5,
                "emulate": 100,
                "w_text": 1.0,
                "w_motion": 0.5,
                "batch_size": 16,
                "enlarge": 6,
            },
        }
    )
