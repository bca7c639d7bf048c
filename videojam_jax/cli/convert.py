"""Public weights to a checkpoint of ours, or a checkpoint or run to safetensors."""

from pathlib import Path

from videojam_jax.cli.start import start_jax
from videojam_jax.errors import UserError


def words(parser) -> None:
    parser.add_argument(
        "source",
        metavar="FROM",
        help="a file or folder of public weights; or the workdir of a run, or of converted weights",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="TO",
        help="a folder; or FILE.safetensors. Either stands for a run, with its weights and config",
    )
    parser.add_argument(
        "--model",
        choices=("raft", "wan_vae", "t5", "clip"),
        help="of public weights; default: found out",
    )
    parser.add_argument(
        "--step", type=int, help="of a run's checkpoint; default: the last whole one"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="of what is written; default: as it is",
    )


def run(arguments) -> None:
    if arguments.overrides:
        raise UserError("convert: it has no config")
    start_jax()
    from videojam_jax.checkpoints.builtin import run_folder
    from videojam_jax.convert.job import convert

    source, out = run_folder(arguments.source), Path(arguments.out)
    for path in convert(
        source,
        out,
        kind=arguments.model,
        dtype=arguments.dtype,
        step=arguments.step,
        tell=print,
    ):
        print(f"wrote {path}")
