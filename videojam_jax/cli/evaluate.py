"""One of the paper's experiments: train what is missing, sample, measure, report."""

import functools
from pathlib import Path

from videojam_jax.cli.start import say, start_alone, workdir_at
from videojam_jax.cli.words import add_config, add_processes
from videojam_jax.errors import STOPPED


def words(parser) -> None:
    add_config(parser)
    parser.add_argument("--workdir", metavar="DIR", help="default: evaluate_out/ARG of the config")
    parser.add_argument("--dry-run", action="store_true", help="name the stages, and do none")
    add_processes(parser)


def run(arguments) -> int | None:
    from videojam_jax.config import loading

    config = loading.load_experiment(arguments.config, arguments.overrides)
    size = arguments.config.partition(":")[2] or "default"
    workdir = Path(arguments.workdir) if arguments.workdir else Path("evaluate_out") / size
    from videojam_jax.experiments import job as experiment

    if arguments.dry_run:
        print("\n".join(experiment.outline(config, workdir)))
        return None
    folders = experiment.folders(config, workdir)
    facts = functools.partial(experiment.facts, config, workdir)
    with start_alone(arguments, workdir_at(workdir), facts, folders):
        paths = experiment.evaluate(config, workdir, tell=say)
    if paths is None:
        print(f"stopped by a signal; what was finished is kept in {workdir}; run the same command "
              "to go on")
        return STOPPED
    for path in paths:
        print(f"wrote {path}")
    return None
