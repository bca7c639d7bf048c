"""The paper's Table 3: VideoJAM, its guidance rules, its base, and the base trained on.

    videojam evaluate --config configs/experiments/ablation.py:tiny
    videojam evaluate --config configs/experiments/ablation.py:small --workdir OUT
    videojam evaluate --config configs/experiments/ablation.py:paper --workdir OUT \\
        --config.prompts=videojam_bench.txt

The base is trained, then for as many further steps (a) plainly, the control, and (b) as
VideoJAM; then every row is sampled from the same captions and noise, measured and compared.
Ends by naming OUT/ablation/report.html.

quickstart: control and VideoJAM from the base that is in the package, a few hundred steps, on two
CPU cores in minutes (launch/quickstart.sh).
tiny: the same for 1,600 steps, three seeds of fine-tuning and all rows; on two CPU cores half a
night.
small: the same with larger batches for longer, two seeds; meant for one GPU, minutes. Not run yet.
paper, paper_30b: the 4B and 30B configs, on the paper's hardware, captions from a file.
OUT/data holds the prepared latents; a run that is trained already is named as
`--config.runs.base=/RUNS/dit_4b`. Not run by us.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "tiny") -> ConfigDict:
    size = {
        "quickstart": {
            "experiment": {"rows": ("base", "control", "videojam")},
            "runs": PHYSICS,
            "change": {
                "source": {"clips": 1024},
                "optimizer": {"warmup_steps": 20, "decay_steps": 150},
                "train": {"steps": 200, "log_every": 25},
            },
            "held_out": {"source": {"seed": 1}},
            "clips": 32,
        },
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
            "clips": 512,
        },
        "paper": {"runs": runs("../dit_4b.py", "../videojam_4b.py"), "clips": 128,
                  "prompts": "videojam_bench.txt"},
        "paper_30b": {"experiment": {"name": "ablation", "paper": "30B"},
                      "runs": runs("../dit_30b.py", "../videojam_30b.py"), "clips": 128,
                      "prompts": "videojam_bench.txt"},
    }[arg]  # fmt: skip
    experiment = {"name": "ablation", **size.pop("experiment", {})}
    return ConfigDict({"experiment": experiment, **size})


PHYSICS = {
    "base": "builtin:physics_base",
    "control": "../physics.py:control",
    "videojam": "../physics.py:videojam",
}


def runs(base: str, videojam: str) -> dict:
    return {"base": f"{base}:base", "control": f"{base}:control", "videojam": videojam}
