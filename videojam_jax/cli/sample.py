"""Clips, and the motion that the model predicted with them, from captions."""

from pathlib import Path

from videojam_jax.cli.start import start
from videojam_jax.cli.words import add_processes, add_workdir, of_clips
from videojam_jax.errors import UserError


def words(parser) -> None:
    add_workdir(
        parser,
        "of the trained run; or what `convert` wrote of it, a folder or a file *.safetensors; or "
        "builtin:NAME, weights that come with the package",
    )
    parser.add_argument("--prompt", action="append", default=[], help="may be given several times")
    parser.add_argument(
        "--prompts", metavar="FILE", help="a prompt a line, a table, or motion64, a set of ours"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--step", type=int, help="of the checkpoint; default: the latest")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="default: WORKDIR/samples/prompts; of a file or builtin:NAME "
        "sample_out/NAME/samples/prompts",
    )
    add_processes(parser)


def run(arguments) -> None:
    from videojam_jax.checkpoints.builtin import in_package, run_folder
    from videojam_jax.checkpoints.read import config_file
    from videojam_jax.config import loading
    from videojam_jax.config.shared import shared

    workdir = run_folder(arguments.workdir)
    path = config_file(workdir)
    config = of_clips(loading.load_resolved(path, arguments.overrides), path)
    prompts = _prompts(arguments)
    home = workdir
    if in_package(workdir) or workdir.is_file():  # nothing is written into the package
        home = Path("sample_out") / workdir.name.partition(".safetensors")[0]
    out = Path(arguments.out) if arguments.out else home / "samples" / "prompts"
    given = {"--prompt": prompts, "--seed": arguments.seed, "--step": arguments.step}
    start(arguments, home, lambda: {**shared(config), **given}, guard=True)
    from videojam_jax.sample.job import sample

    for path in sample(config, workdir, prompts, arguments.seed, out, arguments.step):
        print(f"wrote {path}")


def _prompts(arguments) -> list[str]:
    prompts = list(arguments.prompt)
    if arguments.prompts:
        from videojam_jax.sample.prompts import load_prompts

        found = load_prompts(arguments.prompts)
        if found.repeated:
            print(f"{arguments.prompts}: {len(found.repeated)} repeated prompts are sampled once")
        prompts += found.texts
    if not prompts:
        raise UserError("no prompt: give --prompt TEXT or --prompts FILE")
    return prompts
