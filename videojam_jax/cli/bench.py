"""Speed: data (simulate, prepare, load, a training step), or raft (optical flow)."""

import argparse
import json
from pathlib import Path

from videojam_jax.cli.start import start_jax
from videojam_jax.cli.words import add_config, config_of_clips
from videojam_jax.errors import UserError

# What `bench raft` alone takes; `raft_rows` has the defaults.
RAFT = {
    "height": "of the frames",
    "width": "of the frames",
    "pairs": "pairs of frames at once",
    "updates": "of each flow",
}


def words(parser) -> None:
    add_config(parser, required=False)
    parser.add_argument("what", choices=("data", "raft"))
    for name, meaning in RAFT.items():
        # Not there unless given.
        default = argparse.SUPPRESS
        parser.add_argument(f"--{name}", type=int, default=default, help=f"raft: {meaning}")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each measurement")
    parser.add_argument("--json", metavar="FILE", help="write the rows there too")


def run(arguments) -> None:
    start_jax()
    sizes = {name: value for name, value in vars(arguments).items() if name in RAFT}
    if arguments.what == "raft":
        if arguments.config or arguments.overrides:
            raise UserError("bench raft: it has no config")
        from videojam_jax.bench.raft import raft_rows

        rows = raft_rows(**sizes, seconds=arguments.seconds)
        _print_rates(rows, "pairs", arguments.json)
        return
    for name in sizes:
        raise UserError(f"bench data: --{name} is of bench raft alone")
    from videojam_jax.bench.data import bench_data
    from videojam_jax.bench.step import step_rate

    if arguments.config:
        config = config_of_clips(arguments)
        clip = config.clip
        rows = bench_data(
            frames=clip.frames,
            height=clip.height,
            width=clip.width,
            seconds=arguments.seconds,
            batch_size=config.train.batch_size,
            workers=config.train.loader_threads,
        )
        consumed = step_rate(config, arguments.seconds)
        name = f"training step of {arguments.config}, batches of {config.train.batch_size}"
        rows.append({"name": name, "clips_per_s": round(consumed, 1)})
    elif arguments.overrides:
        raise UserError("bench: --config.KEY=VALUE needs --config")
    else:
        rows = bench_data(seconds=arguments.seconds)
    _print_rates(rows, "clips", arguments.json)
    if arguments.config:
        print(f"the loader is {rows[-2]['clips_per_s'] / rows[-1]['clips_per_s']:.0f} times as "
              "fast as the training step")


def _print_rates(rows, unit: str, path: str | None) -> None:
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        print(f"{row['name']:{width}}  {row[f'{unit}_per_s']:10,.1f} {unit}/s")
    if path:
        Path(path).write_text(json.dumps(rows, indent=2) + "\n")
        print(f"wrote {path}")
