"""A sweep of Inner-Guidance: w1, w2, and the share of the steps that have w2.

    videojam evaluate --config configs/experiments/guidance.py:tiny
    videojam evaluate --config configs/experiments/guidance.py:small --workdir OUT
    videojam evaluate --config configs/experiments/guidance.py:paper --workdir OUT \\
        --config.prompts=videojam_bench.txt

VideoJAM is sampled with every pair of weights and measured: heat maps of all measures. Ends
by naming OUT/guidance/report.html. Runs of the same workdir, as of ablation.py, are not
trained again.

tiny, small, paper, paper_30b: the runs of ablation.py's sizes. Only tiny was run yet.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "tiny") -> ConfigDict:
    size = {
        "tiny": {
            "experiment": {"name": "guidance", "w_text": (0.0, 1.0, 2.0, 4.0),
                           "w_motion": (0.0, 0.5, 1.0, 2.0)},
            "runs": PHYSICS,
            "held_out": {"source": {"seed": 1}},
            "clips": 32,
        },
        "small": {
            "experiment": {"name": "guidance"},
            "runs": PHYSICS,
            "change": {"train": {"batch_size": 64, "steps": 6_000}},
            "held_out": {"source": {"seed": 1}},
            "seeds": (0, 1),
            "clips": 64,
        },
        "paper": {
            "experiment": {"name": "guidance"},
            "runs": runs("../dit_4b.py", "../videojam_4b.py"),
            "prompts": "videojam_bench.txt",
            "clips": 64,
        },
        "paper_30b": {
            "experiment": {"name": "guidance"},
            "runs": runs("../dit_30b.py", "../videojam_30b.py"),
            "prompts": "videojam_bench.txt",
            "clips": 64,
        },
    }[arg]  # fmt: skip
    return ConfigDict(size)


PHYSICS = {
    "base": "builtin:physics_base",
    "videojam": "../physics.py:videojam",
}


def runs(base: str, videojam: str) -> dict:
    # The base alone is needed, to start VideoJAM from.
    return {"base": f"{base}:base", "videojam": videojam}
