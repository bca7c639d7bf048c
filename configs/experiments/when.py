"""The paper's Figure 8: when is a clip's motion decided?

    videojam evaluate --config configs/experiments/when.py:tiny
    videojam evaluate --config configs/experiments/when.py:small --workdir OUT
    videojam evaluate --config configs/experiments/when.py:paper --workdir OUT

Held-out clips are noised to the sampler's steps 20, 60 and 80 of 100 (shares of its steps)
and sampled on from there, by base, control and VideoJAM; what comes back of their motion
and of their pixels was decided before. Ends by naming OUT/when/report.html. Runs of the same
workdir, as of ablation.py, are not trained again.

tiny, small, paper, paper_30b: the runs of ablation.py's sizes. The paper's hold prepared
held-out clips in OUT/when/held_out_data. Only tiny was run yet.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "tiny") -> ConfigDict:
    size = {
        "tiny": {
            "runs": PHYSICS,
            "held_out": {"source": {"seed": 1}},
            "clips": 32,
        },
        "small": {
            "runs": PHYSICS,
            "change": {"train": {"batch_size": 64, "steps": 6_000}},
            "held_out": {"source": {"seed": 1}},
            "seeds": (0, 1),
            "clips": 64,
        },
        "paper": {
            "runs": runs("../dit_4b.py", "../videojam_4b.py"),
            "held_out": {"source": {"path": "held_out_clips"}},
            "clips": 64,
        },
        "paper_30b": {
            "runs": runs("../dit_30b.py", "../videojam_30b.py"),
            "held_out": {"source": {"path": "held_out_clips"}},
            "clips": 64,
        },
    }[arg]
    kept = (0.2, 0.4, 0.6, 0.8)
    return ConfigDict({"experiment": {"name": "when", "kept": kept}, **size})


PHYSICS = {
    "base": "builtin:physics_base",
    "control": "../physics.py:control",
    "videojam": "../physics.py:videojam",
}


def runs(base: str, videojam: str) -> dict:
    return {"base": f"{base}:base", "control": f"{base}:control", "videojam": videojam}
