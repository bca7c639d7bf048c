"""Base and VideoJAM beside real clips, as one HTML page."""

from pathlib import Path

from videojam_jax.cli.start import start, workdir_at
from videojam_jax.cli.words import add_processes, add_workdir


def words(parser) -> None:
    add_workdir(parser, "where the report goes")
    parser.add_argument(
        "--base", metavar="DIR", help="run of the base, or builtin:NAME; default: WORKDIR/base"
    )
    parser.add_argument("--videojam", metavar="DIR", help="VideoJAM's; default: WORKDIR/videojam")
    parser.add_argument("--clips", type=int, default=32, help="to sample and measure")
    parser.add_argument("--seed", type=int, default=0)
    add_processes(parser)


def run(arguments) -> None:
    from videojam_jax.checkpoints.builtin import run_folder
    from videojam_jax.config import loading
    from videojam_jax.config.shared import shared

    workdir = Path(arguments.workdir)
    base = run_folder(arguments.base or workdir / "base")
    joint = run_folder(arguments.videojam or workdir / "videojam")
    configs = [
        loading.load_resolved(folder / "config.json", arguments.overrides)
        for folder in (base, joint)
    ]

    def facts():
        found = {"--clips": arguments.clips, "--seed": arguments.seed}
        for name, config in zip(("base", "VideoJAM"), configs, strict=True):
            found |= {f"{name}'s {key}": value for key, value in shared(config).items()}
        return found

    start(arguments, workdir_at(workdir), facts, guard=True)
    from videojam_jax.report.job import compare

    for path in compare(*configs, base, joint, workdir, arguments.clips, arguments.seed):
        print(f"wrote {path}")
