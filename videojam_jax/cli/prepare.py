"""A source's clips to shards of latents, motion latents and text."""

from pathlib import Path

from videojam_jax.cli.start import start_apart, workdir_at
from videojam_jax.cli.words import add_config, add_processes, add_workdir, config_of_clips


def words(parser) -> None:
    add_config(parser)
    add_workdir(parser, "where the prepared clips go")
    parser.add_argument(
        "--preview", type=int, metavar="N", help="show N clips on a page, and prepare none"
    )
    add_processes(parser)


def run(arguments) -> None:
    from videojam_jax.config import preparing
    from videojam_jax.data.prepare import Share
    from videojam_jax.terminal.progress import progress

    config = config_of_clips(arguments)
    workdir = workdir_at(arguments.workdir)
    # Each process fills shards of its own: the loss of one must not end the others.
    launch = start_apart(arguments, workdir)
    share = Share(launch.process, launch.processes)
    # A preview leaves nothing behind but its page.
    source = preparing.source(config, None if arguments.preview is not None else workdir, share)
    if arguments.preview is not None:
        from videojam_jax.report.preview import preview

        for path in preview(config, source, arguments.preview, workdir):
            print(f"wrote {path}")
        print("nothing was prepared; run the same command without --preview to do so")
        return
    calls, rates = [], []

    def count(done, total, set_aside):
        calls.append(done)
        tell(done)

    def told(measured):
        # At most a line in half a minute, and the last one at the end.
        if not rates or measured.seconds - rates[-1].seconds > 30:
            rates.append(measured)
            if measured.clips:
                tell(calls[-1], f"{calls[-1]:,} clips  {_throughput(measured, config)}")
        last[:] = [measured]

    last = []
    with progress(len(source), 0, "clips") as tell:
        manifest = preparing.prepare(config, source, workdir, count, share, told)
    if last and last[0].clips:
        print(f"throughput: {_throughput(last[0], config)}")
    if manifest is None:
        print(f"{workdir}: {_left_to_others(workdir, launch.processes)}")
        return
    aside = manifest["set_aside"]
    already = " before; nothing was left to do" if len(calls) == 1 else ""
    print(f"{manifest['clips']:,} clips prepared, {aside['count']} set aside{already}")
    for reason, count in list(aside["reasons"].items())[:5]:
        print(f"  {count} x {reason}")
    print(f"wrote {workdir / 'manifest.json'}")


def _throughput(rates, config) -> str:
    """How fast clips were encoded, and whether devices that have work had to wait for them."""
    a_second = rates.clips / rates.seconds
    said = f"{a_second:.1f} clips/s  {a_second * config.clip.frames:,.0f} frames/s"
    if rates.waiting is None:
        return said
    hint = "; more config.prepare.workers may help" if rates.waiting > 0.5 else ""
    return f"{said}  devices waited {rates.waiting:.0%} of the time{hint}"


def _left_to_others(workdir: Path, processes: int) -> str:
    """What there is to say of a prepared folder where this process has done its share."""
    from videojam_jax.data.manifest import unfinished

    left = unfinished(workdir)
    if not left:
        return "this process's shards are done; others are still at work"
    numbers = sorted({i % processes for i in left})
    named = ", ".join(map(str, numbers[:4])) + (", ..." if len(numbers) > 4 else "")
    return (
        f"this process's shards are done; {len(left)} are left to other processes ({named} of "
        f"{processes}), the first {next(iter(left.values())).name}; should one of them not run, "
        "start it, or run the same command with fewer processes"
    )
