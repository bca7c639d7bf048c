"""The paper's Table 3: VideoJAM, its guidance rules, its base, and the base trained on.

    videojam evaluate --config configs/experiments/ablation.py:tiny
    videojam evaluate --config configs/experiments/ablation.py:small --workdir OUT
    videojam evaluate --config configs/experiments/ablation.py:paper --workdir OUT \\
        --config.prompts=videojam_bench.txt

The base is trained, then for as many further steps (a) plainly, the control, and (b) as
VideoJAM; then every row is sampled from the same captions and noise, measured and compared.
Ends by naming OUT/ablation/report.html.

tiny: configs/quickstart.py, one seed, on two CPU cores in minutes. It shows that the
machinery works, and little of the method.
small: configs/physics_minutes.py, two seeds; meant for one
GPU of 16 GB or more in under 25 minutes, in several calls if need be. Not run yet.
paper, paper_30b: the 4B and 30B configs, on the paper's hardware, captions from a file.
OUT/data holds the prepared latents; a run that is trained already is named as
`--config.runs.base=/RUNS/dit_4b`. Not run by us.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "tiny") -> ConfigDict:
    size = {
        "tiny": {
            "runs": runs("../quickstart.py"),
            "held_out": {"source": {"seed": 1}},
            "clips": 64,
        },
        "small": {
            "runs": runs("../physics_minutes.py"),
            "held_out": {"source": {"seed": 1}},
            "seeds": (0, 1),
            "clips": 128,
        },
        "paper": {"runs": runs("../dit_4b.py", "../videojam_4b.py"), "clips": 128,
                  "prompts": "videojam_bench.txt"},
        "paper_30b": {"experiment": {"name": "ablation", "paper": "30B"},
                      "runs": runs("../dit_30b.py", "../videojam_30b.py"), "clips": 128,
                      "prompts": "videojam_bench.txt"},
    }[arg]  # fmt: skip
    return ConfigDict({"experiment": {"name": "ablation"}, **size})


def runs(base: str, videojam: str = "") -> dict:
    joint = videojam or f"{base}:videojam"
    return {"base": f"{base}:base", "control": f"{base}:control", "videojam": joint}
