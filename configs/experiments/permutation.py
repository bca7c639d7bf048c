"""The paper's Figure 3: does the loss notice that a clip's frames were permuted?

    videojam evaluate --config configs/experiments/permutation.py:tiny
    videojam evaluate --config configs/experiments/permutation.py:small --workdir OUT
    videojam evaluate --config configs/experiments/permutation.py:paper --workdir OUT

For base, control and VideoJAM, at steps of the sampler and on a line of t from noise to data: both
halves of the loss on held-out clips, and on the same clips with their frames permuted, against two
targets. Ends by naming OUT/permutation/report.html. Runs of the same workdir, as of ablation.py,
are not trained again.

tiny, small, paper, paper_30b: the runs of ablation.py's sizes. The paper's: 1,000 clips at all 100
steps and as many t on the line; the videos lie in held_out_clips, and are encoded permuted as well,
for which the weights of the autoencoder and of RAFT are needed. Where there are only their latents,
in OUT/permutation/held_out_data, `--config.experiment.permute=latents` permutes these. Only tiny
was run yet, with permuted latents.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "tiny") -> ConfigDict:
    size = {
        "tiny": {
            "experiment": {"name": "permutation", "times": 50},
            "runs": PHYSICS,
            "held_out": {"source": {"seed": 1}},
            "clips": 128,
        },
        "small": {
            "experiment": {"name": "permutation"},
            "runs": PHYSICS,
            "change": {"train": {"batch_size": 64, "steps": 6_000}},
            "held_out": {"source": {"seed": 1}},
            "seeds": (0, 1),
            "clips": 512,
        },
        "paper": {
            "experiment": {"name": "permutation", "times": 200},
            "runs": runs("../dit_4b.py", "../videojam_4b.py"),
            "held_out": {"source": {"path": "held_out_clips"}},
            "clips": 1_000,
        },
        "paper_30b": {
            "experiment": {"name": "permutation", "times": 200},
            "runs": runs("../dit_30b.py", "../videojam_30b.py"),
            "held_out": {"source": {"path": "held_out_clips"}},
            "clips": 1_000,
        },
    }[arg]
    return ConfigDict(size)


PHYSICS = {
    "base": "builtin:physics_base",
    "control": "../physics.py:control",
    "videojam": "../physics.py:videojam",
}


def runs(base: str, videojam: str) -> dict:
    return {"base": f"{base}:base", "control": f"{base}:control", "videojam": videojam}
