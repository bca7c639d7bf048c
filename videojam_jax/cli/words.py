"""Words that several jobs take, and the config that they name."""

import argparse

from videojam_jax.errors import UserError


def add_config(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument(
        "--config",
        required=required,
        metavar="FILE.py[:ARG]",
        help="and --config.KEY=VALUE to change a key (see `videojam keys`)",
    )


def add_workdir(parser: argparse.ArgumentParser, meaning: str) -> None:
    parser.add_argument("--workdir", required=True, metavar="DIR", help=meaning)


def add_processes(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "several processes", "found by themselves under SLURM, Open MPI, on TPUs and GKE"
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0, to meet at")
    group.add_argument("--processes", type=int, metavar="N", help="how many there are")
    group.add_argument("--process", type=int, metavar="I", help="the number of this one")


def config_of_clips(arguments):
    """The config that is named, of a model of clips."""
    from videojam_jax.config import loading

    return of_clips(loading.load(arguments.config, arguments.overrides), arguments.config)


def of_clips(config, path):
    """The config; UserError where it trains an autoencoder, which other jobs do not take."""
    from videojam_jax.config import loading

    if loading.is_autoencoder(config):
        raise UserError(
            f"{path}: this trains an autoencoder, which `videojam train` does alone; to use one, "
            "set config.autoencoder.name = 'tae' and config.autoencoder.weights in a config of "
            "clips"
        )
    return config
