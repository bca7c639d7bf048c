"""Train a base model or VideoJAM; the same command goes on where it stopped."""

from pathlib import Path

from videojam_jax.cli.start import start_alone, workdir_at
from videojam_jax.cli.words import add_config, add_processes, add_workdir
from videojam_jax.errors import STOPPED


def words(parser) -> None:
    add_config(parser)
    add_workdir(parser, "of the run: config, logs, checkpoints")
    add_processes(parser)
    parser.add_argument(
        "--profile", type=int, default=0, metavar="STEPS",
        help="trace so many steps into WORKDIR/profile, for TensorBoard or Perfetto",
    )  # fmt: skip


def run(arguments) -> int:
    from videojam_jax.config import loading
    from videojam_jax.config.shared import shared
    from videojam_jax.data import manifest

    config = loading.load(arguments.config, arguments.overrides)
    workdir = workdir_at(arguments.workdir)

    def facts():
        found = shared(config)
        if not loading.is_autoencoder(config):
            folder = loading.beside(config.train.dataset, workdir)
            found |= {"the clips of config.train.dataset": manifest.digest(folder)}
        return found

    with start_alone(arguments, workdir, facts, [workdir]):
        _tell_changes(workdir / "config.json", config)
        from videojam_jax.train.loop import train

        outcome = train(
            config, loading.to_json(config), workdir,
            command=arguments.command, profile=arguments.profile,
        )  # fmt: skip
    if outcome.stopped:
        print(
            f"stopped by a signal at step {outcome.step}, checkpoint saved in "
            f"{workdir / 'checkpoints'}; run the same command to go on"
        )
        return STOPPED
    print(f"trained to step {outcome.step}; wrote {workdir / 'checkpoints'} and metrics.jsonl")
    return 0


def _tell_changes(path: Path, config) -> None:
    """On resume, name the keys that are no longer what the run began with."""
    from videojam_jax.config import loading
    from videojam_jax.differences import differences

    if not path.exists():
        return
    before = loading.load_resolved(path)
    for key, there, here in differences(before, config):
        print(f"changed since this run began: config.{key} {there!r} -> {here!r}")
