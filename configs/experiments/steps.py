"""How VideoJAM's gain over the control goes with steps of fine-tuning.

    videojam evaluate --config configs/experiments/steps.py:tiny
    videojam evaluate --config configs/experiments/steps.py:small --workdir OUT
    videojam evaluate --config configs/experiments/steps.py:paper --workdir OUT

No paper has this. Checkpoints of control and VideoJAM from an eighth of their steps to the last
are sampled from the same captions and noise and measured as in ablation.py; the base is step 0
of both. Ends by naming OUT/steps/report.html.

Training keeps the checkpoints of these steps, so do this before the other experiments of a
workdir, which then train nothing again; or give them the steps as
`--config.change.train.keep_steps='(200,400,800,1200,1600)'` (tiny's).

tiny, small, paper, paper_30b: the runs of ablation.py's sizes. The paper's hold prepared
held-out clips in OUT/steps/held_out_data, and a checkpoint is their whole state of training.
Not run yet.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "tiny") -> ConfigDict:
    size = {
        "tiny": {
            "runs": PHYSICS,
            "held_out": {"source": {"seed": 1}},
            "seeds": (0, 1, 2),
            "clips": 128,
        },
        "small": {
            "runs": PHYSICS,
            "change": {"train": {"batch_size": 64, "steps": 6_000}},
            "held_out": {"source": {"seed": 1}},
            "seeds": (0, 1),
            "clips": 256,
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
    return ConfigDict({"experiment": {"name": "steps"}, **size})


PHYSICS = {
    "base": "builtin:physics_base",
    "control": "../physics.py:control",
    "videojam": "../physics.py:videojam",
}


def runs(base: str, videojam: str) -> dict:
    return {"base": f"{base}:base", "control": f"{base}:control", "videojam": videojam}
