"""`videojam JOB ...`: the one place that reads the command line."""

import argparse
import contextlib
import errno
import json
import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from videojam_jax.errors import STOPPED, WRONG, PeerLost, UserError, first_line


def main(argv: list[str] | None = None) -> int:
    """Run one job; returns the exit status."""
    arguments, overrides = _parse(sys.argv[1:] if argv is None else argv)
    # orbax tells of every save, and of every failure that we tell of, through absl's logger.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    try:
        with _stoppable():
            status = arguments.run(arguments, overrides) or 0
    except UserError as error:
        return _fail(arguments, str(error))
    except PeerLost as error:
        return _fail(arguments, f"{error}; run the same command to go on", STOPPED)
    except OSError as error:
        return _fail(arguments, _os_error(error))
    except KeyboardInterrupt:
        message = "stopped by a signal; what was finished is kept, run the same command to go on"
        return _fail(arguments, message, STOPPED)
    except Exception as error:
        if not _is_joined(arguments):
            raise
        traceback.print_exc()
        return _fail(arguments, f"{type(error).__name__}: {error}", 1)
    if _is_joined(arguments):
        _leave(arguments)
    return status


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM and Ctrl-C raise KeyboardInterrupt; `train` has its own way.

    So does a SIGINT that was ignored by whoever started this in the background.
    """
    stop = signal.default_int_handler
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def prepare(arguments, overrides) -> None:
    """A source's clips to shards of latents, motion latents and text."""
    from videojam_jax import build
    from videojam_jax.terminal.progress import progress

    config = _config(arguments, overrides)
    workdir = _workdir(arguments.workdir)
    # Each process fills shards of its own: the loss of one must not end the others.
    launch = _start(arguments, workdir, join=False)
    source = build.source(config)
    if arguments.preview is not None:
        from videojam_jax.evaluate.preview import preview

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
        place = launch.process, launch.processes
        manifest = build.prepare(config, source, workdir, count, *place, told)
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


def train(arguments, overrides) -> int:
    """Train a base model or VideoJAM; the same command goes on where it stopped."""
    from videojam_jax import configuration

    config = _config(arguments, overrides)
    workdir = _workdir(arguments.workdir)
    with _start_alone(arguments, workdir, [workdir]):
        _tell_changes(workdir / "config.json", config)
        from videojam_jax.train.loop import train as run

        outcome = run(config, configuration.to_json(config), workdir)
    if outcome.stopped:
        print(
            f"stopped by a signal at step {outcome.step}, checkpoint saved in "
            f"{workdir / 'checkpoints'}; run the same command to go on"
        )
        return STOPPED
    print(f"trained to step {outcome.step}; wrote {workdir / 'checkpoints'} and metrics.jsonl")
    return 0


def sample(arguments, overrides) -> None:
    """Clips, and the motion that the model predicted with them, from captions."""
    from videojam_jax import configuration

    workdir = Path(arguments.workdir)
    path = workdir / "config.json"
    config = _of_clips(configuration.load_resolved(path, overrides), path)
    prompts = _prompts(arguments)
    out = Path(arguments.out) if arguments.out else workdir / "samples" / "prompts"
    _start(arguments, workdir, guard=True)
    from videojam_jax.evaluate.sample import sample as run

    for path in run(config, workdir, prompts, arguments.seed, out, arguments.step):
        print(f"wrote {path}")


def report(arguments, overrides) -> None:
    """Base and VideoJAM beside real clips, as one HTML page."""
    from videojam_jax import configuration

    workdir = Path(arguments.workdir)
    base = Path(arguments.base) if arguments.base else workdir / "base"
    joint = Path(arguments.videojam) if arguments.videojam else workdir / "videojam"
    configs = [configuration.load_resolved(run / "config.json", overrides) for run in (base, joint)]
    _start(arguments, _workdir(workdir), guard=True)
    from videojam_jax.evaluate.compare import compare

    for path in compare(*configs, base, joint, workdir, arguments.clips, arguments.seed):
        print(f"wrote {path}")


def evaluate(arguments, overrides) -> int | None:
    """One of the paper's experiments: train what is missing, sample, measure, report."""
    from videojam_jax import configuration

    config = configuration.load_experiment(arguments.config, overrides)
    size = arguments.config.partition(":")[2] or "default"
    workdir = Path(arguments.workdir) if arguments.workdir else Path("evaluate_out") / size
    from videojam_jax.evaluate.experiments import run

    if arguments.dry_run:
        print("\n".join(run.outline(config, workdir)))
        return None
    with _start_alone(arguments, _workdir(workdir), run.folders(config, workdir)):
        paths = run.evaluate(config, workdir, tell=_say)
    if paths is None:
        print(f"stopped by a signal; what was finished is kept in {workdir}; run the same command "
              "to go on")
        return STOPPED
    for path in paths:
        print(f"wrote {path}")
    return None


def vote(arguments, overrides) -> None:
    """People compare the clips of two folders, side by side, without knowing whose they are."""
    if overrides:
        raise UserError("vote: it has no config")
    votes = Path(arguments.votes)
    if arguments.table:
        from videojam_jax.evaluate.vote import table

        found = table.results(votes)
        print(table.to_markdown(found))
        if arguments.json:
            print(f"wrote {table.write_json(Path(arguments.json), found)}")
        return
    if not (arguments.a and arguments.b):
        raise UserError("vote: give two folders, --a DIR and --b DIR; or --votes FILE --table")
    if bool(arguments.name_a) != bool(arguments.name_b):
        raise UserError("vote: --name-a and --name-b go together")
    from videojam_jax.evaluate.vote.server import serve

    serve(
        Path(arguments.a),
        Path(arguments.b),
        votes,
        names=(arguments.name_a, arguments.name_b) if arguments.name_a else None,
        host=arguments.host,
        port=arguments.port,
        seed=arguments.seed,
        tell=_say,
    )


# What `bench raft` alone takes; `raft_rows` has the defaults.
BENCH_RAFT = {
    "height": "of the frames",
    "width": "of the frames",
    "pairs": "pairs of frames at once",
    "updates": "of each flow",
}


def bench(arguments, overrides) -> None:
    """Speed: data (simulate, prepare, load, a training step), or raft (optical flow)."""
    _start_jax()
    sizes = {name: value for name, value in vars(arguments).items() if name in BENCH_RAFT}
    if arguments.what == "raft":
        if arguments.config or overrides:
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
        config = _config(arguments, overrides)
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
    elif overrides:
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


def plan(arguments, overrides) -> None:
    """What a config asks of a machine that need not be here, by that machine's own compiler."""
    from videojam_jax.plan.environment import environment

    if arguments.platform and arguments.slices != 1:
        raise UserError("plan: --slices goes with --topology")
    # Before anything imports jax.
    os.environ.update(environment(arguments.topology, arguments.platform, os.environ))
    config = _config(arguments, overrides)
    from videojam_jax.plan import report, tables, topology
    from videojam_jax.plan.plan import plan as run

    devices = topology.devices(arguments.topology, arguments.platform, arguments.slices)
    found = run(config, devices, tell=lambda line: print(line, file=sys.stderr, flush=True))
    print(tables.to_text(report.tables(found)))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(report.to_json(found), indent=2) + "\n")
        print(f"wrote {arguments.json}")
    if arguments.markdown:
        title = f"# {arguments.config} on {topology.name(devices)}\n\n"
        Path(arguments.markdown).write_text(title + tables.to_markdown(report.tables(found)))
        print(f"wrote {arguments.markdown}")


def convert(arguments, overrides) -> None:
    """Public weights to a checkpoint of ours, or a checkpoint to safetensors."""
    if overrides:
        raise UserError("convert: it has no config")
    _start_jax()
    from videojam_jax.convert.job import convert as run

    source, out = Path(arguments.source), Path(arguments.out)
    for path in run(source, out, kind=arguments.model, dtype=arguments.dtype, tell=print):
        print(f"wrote {path}")


def keys(arguments, overrides) -> None:
    """Every config key with its default and meaning."""
    from videojam_jax import configuration

    print(configuration.explain())


def _parse(argv: list[str]) -> tuple[argparse.Namespace, dict[str, str]]:
    parser = argparse.ArgumentParser(
        prog="videojam",
        description="Train, sample and judge video models that learn appearance and motion.",
        allow_abbrev=False,
    )
    jobs = parser.add_subparsers(dest="job", metavar="JOB", required=True)

    def job(name, run, *, config: bool, workdir: str | None):
        sub = jobs.add_parser(name, help=run.__doc__, description=run.__doc__, allow_abbrev=False)
        sub.set_defaults(run=run)
        if config:
            sub.add_argument(
                "--config",
                required=name != "bench",
                metavar="FILE.py[:ARG]",
                help="and --config.KEY=VALUE to change a key (see `videojam keys`)",
            )
        if workdir:
            sub.add_argument("--workdir", required=True, metavar="DIR", help=workdir)
        sub.set_defaults(launch=None, terminal=None)
        return sub

    def processes(sub):
        group = sub.add_argument_group(
            "several processes", "found by themselves under SLURM, Open MPI, on TPUs and GKE"
        )
        group.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0, to meet at")
        group.add_argument("--processes", type=int, metavar="N", help="how many there are")
        group.add_argument("--process", type=int, metavar="I", help="the number of this one")

    sub = job("prepare", prepare, config=True, workdir="where the prepared clips go")
    sub.add_argument(
        "--preview", type=int, metavar="N", help="show N clips on a page, and prepare none"
    )
    processes(sub)
    processes(job("train", train, config=True, workdir="of the run: config, logs, checkpoints"))
    sub = job("sample", sample, config=False, workdir="of the trained run")
    sub.add_argument("--prompt", action="append", default=[], help="may be given several times")
    sub.add_argument("--prompts", metavar="FILE", help="a prompt a line, a table, or motion64, a set of ours")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--step", type=int, help="of the checkpoint; default: the latest")
    sub.add_argument("--out", metavar="DIR", help="default: WORKDIR/samples/prompts")
    processes(sub)
    sub = job("report", report, config=False, workdir="where the report goes")
    sub.add_argument("--base", metavar="DIR", help="run of the base; default: WORKDIR/base")
    sub.add_argument("--videojam", metavar="DIR", help="VideoJAM's; default: WORKDIR/videojam")
    sub.add_argument("--clips", type=int, default=32, help="to sample and measure")
    sub.add_argument("--seed", type=int, default=0)
    processes(sub)
    sub = job("evaluate", evaluate, config=True, workdir=None)
    sub.add_argument("--workdir", metavar="DIR", help="default: evaluate_out/ARG of the config")
    sub.add_argument("--dry-run", action="store_true", help="name the stages, and do none")
    processes(sub)
    sub = job("vote", vote, config=False, workdir=None)
    sub.add_argument("--a", metavar="DIR", help="clips of one model: of `sample` or `evaluate`")
    sub.add_argument("--b", metavar="DIR", help="clips of the other")
    sub.add_argument("--votes", default="votes.sqlite", metavar="FILE", help="default: %(default)s")
    sub.add_argument("--name-a", metavar="NAME", help="in the table; raters never see it")
    sub.add_argument("--name-b", metavar="NAME")
    sub.add_argument("--host", default="127.0.0.1", help="to listen at; default: %(default)s")
    sub.add_argument("--port", type=int, default=8765, help="0: any; default: %(default)s")
    sub.add_argument("--seed", type=int, default=0, help="of sides and order")
    sub.add_argument("--table", action="store_true", help="print what came of the votes")
    sub.add_argument("--json", metavar="FILE", help="with --table: write it there too")
    sub = job("bench", bench, config=True, workdir=None)
    sub.add_argument("what", choices=("data", "raft"))
    for name, meaning in BENCH_RAFT.items():
        # Not there unless given.
        default = argparse.SUPPRESS
        sub.add_argument(f"--{name}", type=int, default=default, help=f"raft: {meaning}")
    sub.add_argument("--seconds", type=float, default=5.0, help="for each measurement")
    sub.add_argument("--json", metavar="FILE", help="write the rows there too")
    sub = job("plan", plan, config=True, workdir=None)
    machine = sub.add_mutually_exclusive_group(required=True)
    machine.add_argument("--topology", metavar="NAME", help="of TPUs, v5p:4x4x8 say")
    machine.add_argument("--platform", metavar="cpu:N", help="N simulated devices")
    sub.add_argument("--slices", type=int, default=1, metavar="N", help="of that topology")
    sub.add_argument("--json", metavar="FILE", help="write the numbers there too")
    sub.add_argument("--markdown", metavar="FILE", help="write the tables there too")
    sub = job("convert", convert, config=False, workdir=None)
    sub.add_argument("source", metavar="FROM", help="a file or folder of public weights; or the "
                                                    "workdir of a run, or of converted weights")
    sub.add_argument("--out", required=True, metavar="TO", help="a folder; or FILE.safetensors")
    sub.add_argument("--model", choices=("raft", "wan_vae", "t5", "clip"),
                     help="of public weights; default: found out")
    sub.add_argument("--dtype", choices=("float32", "bfloat16", "float16"),
                     help="of what is written; default: as it is")
    job("keys", keys, config=False, workdir=None)

    arguments, rest = parser.parse_known_args(argv)
    overrides = {}
    rest = list(rest)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--config."):
            jobs.choices[arguments.job].error(f"unknown argument {word}")
        key, equals, value = word.removeprefix("--config.").partition("=")
        if not equals:
            if not rest:
                parser.error(f"{word} needs a value: {word}=VALUE")
            value = rest.pop(0)
        overrides[key] = value
    return arguments, overrides


def _config(arguments, overrides):
    from videojam_jax import configuration

    config = configuration.load(arguments.config, overrides)
    return config if arguments.job == "train" else _of_clips(config, arguments.config)


def _of_clips(config, path):
    """The config; UserError where it trains an autoencoder, which other jobs do not take."""
    from videojam_jax import configuration

    if configuration.is_autoencoder(config):
        raise UserError(
            f"{path}: this trains an autoencoder, which `videojam train` does alone; to use one, "
            "set config.autoencoder.name = 'tae' and config.autoencoder.weights in a config of clips"
        )
    return config


def _start(arguments, workdir: Path, *, join: bool = True, guard: bool = False):
    """Finds this process's place among others, opens its log, and joins them; the Launch."""
    launch = _place(arguments, workdir)
    _meet(launch, join, guard)
    return launch


@contextlib.contextmanager
def _start_alone(arguments, workdir: Path, folders: Sequence[Path]) -> Iterator[None]:
    """As `_start`, for a job that no other run may meet in these folders while it lasts."""
    from videojam_jax import lock
    from videojam_jax.parallel import distributed

    launch, refusal = _place(arguments, workdir), ""
    with contextlib.ExitStack() as stack:
        # Before the processes meet: it may take a while to see that a killed run is dead.
        if launch.process == 0:
            try:
                stack.enter_context(lock.alone(folders, _say))
            except UserError as error:
                if launch.processes == 1:
                    raise
                refusal = str(error)
        _meet(launch, join=True, guard=True)
        # All end by the same line, and none waits for a process that does not come.
        if launch.processes > 1 and (refusal := distributed.broadcast_text(refusal)):
            raise UserError(refusal)
        yield


def _place(arguments, workdir: Path):
    """This process's place among others, whose log it opens; the Launch."""
    from videojam_jax.parallel.launch import detect, tpu_vm_environ
    from videojam_jax.terminal.process_log import log_process

    arguments.launch = detect(
        {**tpu_vm_environ(), **os.environ},
        coordinator=arguments.coordinator,
        processes=arguments.processes,
        process=arguments.process,
    )
    arguments.terminal = log_process(workdir, arguments.launch)
    return arguments.launch


def _meet(launch, join: bool, guard: bool) -> None:
    """Starts JAX and joins the other processes, or leaves them their devices alone."""
    from videojam_jax.parallel import distributed

    _start_jax(guard)
    if join:
        distributed.start(launch)
    else:
        distributed.take_device(launch)


def _is_joined(arguments) -> bool:
    """Whether this process is one of several that started together."""
    if arguments.launch is None:
        return False
    from videojam_jax.parallel import distributed

    return distributed.joined()


def _leave(arguments) -> None:
    """The good end of one of several processes: together with the others."""
    from videojam_jax.parallel import distributed

    try:
        distributed.leave()
    except RuntimeError as error:
        what = f"another process was lost at the very end ({first_line(error)})"
        _fail(arguments, f"{what}; run the same command to see that all is done", STOPPED)


def _start_jax(guard: bool = False) -> None:
    """Settings of the process, before any array: compiled programs are kept between runs.

    With `guard`, an accidental copy between host and device is an error, not a
    slowness found weeks later.
    """
    import jax

    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(Path(cache) / "videojam_jax" / "xla"))
    if guard:
        jax.config.update("jax_transfer_guard", "disallow")


def _workdir(path: str | Path) -> Path:
    """The folder, made if it is not there; UserError when nothing can be written to it."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise UserError(f"{path}: cannot write there ({error.strerror})") from None
    return path


def _tell_changes(path: Path, config) -> None:
    """On resume, name the keys that are no longer what the run began with."""
    from videojam_jax import configuration
    from videojam_jax.differences import differences

    if not path.exists():
        return
    before = configuration.load_resolved(path)
    for key, there, here in differences(before, config):
        print(f"changed since this run began: config.{key} {there!r} -> {here!r}")


def _prompts(arguments) -> list[str]:
    prompts = list(arguments.prompt)
    if arguments.prompts:
        from videojam_jax.evaluate.prompts import load_prompts

        found = load_prompts(arguments.prompts)
        if found.repeated:
            print(f"{arguments.prompts}: {len(found.repeated)} repeated prompts are sampled once")
        prompts += found.texts
    if not prompts:
        raise UserError("no prompt: give --prompt TEXT or --prompts FILE")
    return prompts


def _say(line: str) -> None:
    print(line, flush=True)


def _os_error(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{where}the disk is full; free some space and run the same command to go on"
    return f"{where}{error.strerror or error}"


def _fail(arguments, message: str, status: int = WRONG) -> int:
    """Says what went wrong; one of several processes ends here, without waiting for them."""
    # The log may be on the disk that is full.
    with contextlib.suppress(OSError):
        print(f"videojam: error: {message}", file=sys.stderr)
    if arguments.terminal:
        number = arguments.launch.process
        print(f"videojam: error in process {number}: {message}", file=arguments.terminal)
    if _is_joined(arguments):
        from videojam_jax.parallel import distributed

        distributed.abandon(arguments.launch, status)
    return status


if __name__ == "__main__":
    sys.exit(main())
