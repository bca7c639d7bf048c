"""A small temporal autoencoder on simulated clips: 4 x 4 x 4 compression, for one GPU.

    videojam train --config configs/tae_small.py --workdir OUT/tae

`:tiny` is the same in miniature, for a CPU of two cores: minutes.

    videojam train --config configs/tae_small.py:tiny --workdir OUT/tae

Clips are made while it trains, and a quarter of each batch is their flow as RGB, since
VideoJAM sends both through the one autoencoder. To use it, a config of such clips names it:
`autoencoder.name=tae`, `weights=OUT/tae`, `compression=(4,4,4)`, `channels=16`.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "small") -> ConfigDict:
    tiny = {"small": False, "tiny": True}[arg]
    size = 32 if tiny else 64
    return ConfigDict(
        {
            "clip": {
                "frames": 8 if tiny else 16, "height": size, "width": size, "fps": 16.0,
            },
            "source": {"name": "simulated", "clips": 4096 if tiny else 50_000, "pan": 0.5},
            "motion": {"flow": "exact"},
            "tae": {
                "compression": (2, 4, 4) if tiny else (4, 4, 4),
                "channels": 16,
                "width": 16 if tiny else 64,
                "multipliers": (1, 2, 4),
                "blocks": 0 if tiny else 2,
                "norm": not tiny,
                "attention": not tiny,
                "dtype": "float32" if tiny else "bfloat16",
            },
            "reconstruction": {"latent_clips": 64 if tiny else 256},
            "optimizer": {
                "learning_rate": 2e-3 if tiny else 3e-4,
                "warmup_steps": 20 if tiny else 1_000,
                "decay_steps": 500 if tiny else 10_000,
                "b2": 0.99,
                "ema_decay": 0.99 if tiny else 0.999,
            },
            "train": {
                "steps": 1_500 if tiny else 50_000,
                "batch_size": 4 if tiny else 32,
                "log_every": 50 if tiny else 100,
                "checkpoint_every": 500 if tiny else 2_000,
                "sample_every": 500 if tiny else 5_000,
            },
        }
    )
