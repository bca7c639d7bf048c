"""The temporal autoencoder of the paper's base: Movie Gen's, 8 x 8 x 8 and 16 channels.

    videojam train --config configs/tae.py --workdir RUNS/tae --config.source.path=clips

Movie Gen (arXiv 2410.13720, section 3.1.1) inflates an image autoencoder and trains it on
videos with L1, perceptual, adversarial, KL and outlier losses (r = 3), with one image for
every three videos; its video PSNR is 32.25 dB. This config starts from random parameters
and has, in the place of the perceptual loss, that of multi-scale gradients, which needs no
other network. A quarter of a batch is flow clips, estimated by DIS while it trains.

Movie Gen does not tell its learning rate, its crops or its number of steps: those are ours.
Hardware: 8 GPUs of 80 GB. Not run by us.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "clip": {"frames": 32, "height": 256, "width": 256, "fps": 24.0, "crop": "random"},
            "source": {"name": "folder", "path": "clips"},
            "motion": {"flow": "dis", "sigma": 0.15},
            "tae": {
                "compression": (8, 8, 8),
                "channels": 16,
                "width": 128,
                "multipliers": (1, 2, 4, 4),
                "blocks": 2,
                "attention": True,
                "dtype": "bfloat16",
                "remat": True,
            },
            "reconstruction": {
                "kl": 1e-6,
                "outlier": 0.01,  # for Movie Gen's 1e5, see `reconstruction.Options`
                "outlier_r": 3.0,
                "adversarial": 0.05,
                "adversarial_start": 50_000,
                "held_out": 64,
                "latent_clips": 1_024,
            },
            "optimizer": {
                "learning_rate": 1e-4,
                "warmup_steps": 2_000,
                "decay_steps": 20_000,
                "ema_decay": 0.9999,
            },
            "train": {
                "steps": 200_000,
                "batch_size": 16,
                "checkpoint_every": 2_000,
                "sample_every": 10_000,
                "loader_threads": 16,
            },
        }
    )
