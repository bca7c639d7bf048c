"""When and why: at which times VideoJAM gains on the control, and at which it loses.

    videojam evaluate --config configs/experiments/horizon.py:tiny
    videojam evaluate --config configs/experiments/horizon.py:small --workdir OUT
    videojam evaluate --config configs/experiments/horizon.py:paper --workdir OUT

No paper has this. Both losses of base, control and VideoJAM on held-out clips, from near noise
to near data; and clips whose first sampling steps are VideoJAM's and the rest the control's, or
the other way round. Ends by naming OUT/horizon/report.html. Runs of the same workdir, as of
ablation.py, are not trained again.

tiny, small, paper, paper_30b: the runs of ablation.py's sizes. The paper's hold prepared
held-out clips in OUT/horizon/held_out_data. Only tiny was run yet.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "tiny") -> ConfigDict:
    size = {
        "tiny": {
            "runs": PHYSICS,
            "held_out": {"source": {"seed": 1}},
            "clips": 64,
        },
        "small": {
            "runs": PHYSICS,
            "change": {"train": {"batch_size": 64, "steps": 6_000}},
            "held_out": {"source": {"seed": 1}},
            "seeds": (0, 1),
            "clips": 128,
        },
        "paper": {
            "runs": runs("../dit_4b.py", "../videojam_4b.py"),
            "held_out": {"source": {"path": "held_out_clips"}},
            "clips": 128,
        },
        "paper_30b": {
            "runs": runs("../dit_30b.py", "../videojam_30b.py"),
            "held_out": {"source": {"path": "held_out_clips"}},
            "clips": 128,
        },
    }[arg]
    return ConfigDict({"experiment": {"name": "horizon"}, **size})


PHYSICS = {
    "base": "builtin:physics_base",
    "control": "../physics.py:control",
    "videojam": "../physics.py:videojam",
}


def runs(base: str, videojam: str) -> dict:
    return {"base": f"{base}:base", "control": f"{base}:control", "videojam": videojam}
