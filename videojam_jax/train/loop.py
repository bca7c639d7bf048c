"""The training job, from top to bottom: the same for every model that is trained.

A run is a workdir: `config.json`, `metrics.jsonl`, `tensorboard/`, `samples/` and
`checkpoints/`. The same command on the same workdir goes on where it stopped, on any
number of processes. All of them run this; process 0 alone writes config and metrics.
"""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import FrozenConfigDict

from videojam_jax.checkpoints.read import latest_whole, place_of
from videojam_jax.config.loading import beside, is_autoencoder
from videojam_jax.errors import PeerLost, UserError, first_line
from videojam_jax.files import write_whole
from videojam_jax.parallel import distributed
from videojam_jax.parallel.batch import to_global
from videojam_jax.parallel.watchdog import Watchdog
from videojam_jax.terminal.progress import progress
from videojam_jax.train import checkpoint
from videojam_jax.train.alert import alert
from videojam_jax.train.autoencoding import Autoencoding
from videojam_jax.train.generation import Generation
from videojam_jax.train.interval import Interval, summary
from videojam_jax.train.optimizer import learning_rate
from videojam_jax.train.program import optimizer_options, parameter_count, training_mesh
from videojam_jax.train.run_log import RunLog, describe
from videojam_jax.train.saving import Saves, told
from videojam_jax.train.starts import keep_start
from videojam_jax.train.state import (
    TrainState,
    abstract_state,
    create_state,
    state_from_params,
)
from videojam_jax.train.stop import Stop
from videojam_jax.train.task import Task

# A trace begins after so many steps, when all has been compiled and is warm.
PROFILED = 3


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended: at which step, and whether a signal stopped it early."""

    step: int
    stopped: bool


class Diverged(UserError):
    """The loss or its gradient is no longer finite."""


@dataclasses.dataclass
class Run:
    """What the loop works with.

    Attributes:
      step: `step(state, batch) -> (state, metrics)`.
      batches: this process's rows of the batches that follow step `done`.
      task: what is trained.
      floors: its `floors()`.
      done: the last step that was given to the devices.
      profile: how many steps are traced.
      bad: how many of the last steps in a row were left out.
    """

    config: FrozenConfigDict
    workdir: Path
    mesh: Mesh
    saves: Saves
    step: Callable
    batches: Iterator[dict]
    task: Task
    floors: dict[str, float]
    done: int
    profile: int = 0
    bad: int = 0


def train(
    config: FrozenConfigDict,
    config_json: str,
    workdir: Path,
    *,
    command: str = "",
    profile: int = 0,
) -> Outcome:
    """Train until `config.train.steps`, or until SIGTERM (or Ctrl-C), whichever is first.

    Args:
      command: what was typed, for the record of this start.
      profile: so many steps are traced into `WORKDIR/profile`, for TensorBoard or Perfetto.

    Raises:
      UserError: the data, a checkpoint or the mesh does not fit the config; the
        loss is no longer finite; a checkpoint could not be written.
      PeerLost: another process of the run is gone.
      KeyboardInterrupt: a signal came while nothing was left to save.
    """
    tell = functools.partial(alert, config.train.alert if distributed.leader() else "", workdir)
    mesh = training_mesh(config)
    try:
        with Stop(mesh) as stop, _watchdog(config.train, tell) as watch:
            outcome = _train(config, config_json, workdir, mesh, stop, watch, tell, command, profile)
    except KeyboardInterrupt:
        tell("stopped")
        raise
    except Exception as error:
        tell("diverged" if isinstance(error, Diverged) else "failed", message=first_line(error))
        raise
    tell("stopped" if outcome.stopped else "done", step=outcome.step)
    return outcome


def _train(
    config, config_json, workdir, mesh, stop: Stop, watch: Watchdog, tell, command, profile
) -> Outcome:
    section = config.train
    with contextlib.ExitStack() as opened:
        with stop.at_once():
            # --- model, data, shapes of the state ---------------------------------------
            kind = Autoencoding if is_autoencoder(config) else Generation
            task = kind(config, workdir, mesh)
            abstract = abstract_state(task.init, task.optimizer, mesh)
            print(_title(config, task, abstract, mesh), flush=True)

            # --- state: resumed, or from another run, or fresh --------------------------
            manager = opened.enter_context(
                checkpoint.opened(
                    workdir, section.keep, section.keep_steps, section.keep_every, section.slow_minutes
                )
            )
            began = time.monotonic()
            state, origin = _first_state(config, workdir, manager, task, abstract)
            start = int(jax.device_get(state.step))
            print(origin, flush=True)
            if start:
                read = told(checkpoint.size(state), time.monotonic() - began)
                print(f"read step {start}: {read}", flush=True)
            if distributed.leader():
                write_whole(workdir / "config.json", config_json)
                keep_start(workdir, start, jax.process_count(), command)
            if start >= section.steps:
                return Outcome(start, stopped=False)

            # --- step, data ---------------------------------------------------------------
            step, batches = task.jitted_step(), task.batches(start)
            floors = task.floors()
            if floors:
                words = (f"{name.removesuffix('_floor')} {floor:.4f}" for name, floor in floors.items())
                print(f"linear floor of the loss: {', '.join(words)}", flush=True)
            saves = Saves(manager, section)
            run = Run(config, workdir, mesh, saves, step, batches, task, floors, start, profile)
        try:
            return _loop(run, state, stop, watch, tell)
        except Exception as error:
            if not distributed.peer_lost(error):
                raise
            raise _told(error, run) from error


def _loop(run: Run, state: TrainState, stop: Stop, watch: Watchdog, alert: Callable) -> Outcome:
    section, task, saves = run.config.train, run.task, run.saves
    first = run.done + 1
    log = RunLog(run.workdir, run.done) if distributed.leader() else None
    interval = Interval()

    with progress(section.steps, run.done, "steps") as tell:
        for step in range(first, section.steps + 1):
            _trace(run, step - first)
            with interval.waiting():
                batch = to_global(run.mesh, next(run.batches), section.batch_size)
            if step == first:
                with stop.at_once(), watch.during("the first step"), _fits(run.config):
                    state, metrics = run.step(state, batch)
                    jax.block_until_ready(metrics)
                # It compiled; what is left to wait is told from the steps that follow.
                interval.start_clock()
            else:
                state, metrics = run.step(state, batch)
            run.done = step
            interval.add(metrics)
            watch.step()

            stopped, overdue = stop.agreed(saves.overdue())
            last = stopped or step == section.steps
            save = last or overdue or saves.wanted(step)
            line = None
            if save or step % section.log_every == 0:
                seconds, values, where = interval.fetch()
                _check_finite(run, values)
                mean = summary(values) | where | run.floors | task.rate(1.0 / seconds)
                mean["learning_rate"] = _rate(run.config, step)
                if passed_over := task.skipped():
                    mean["skipped_records"] = float(passed_over)
                line = describe(step, section.steps, mean, seconds * (section.steps - step))
                if log:
                    log.scalars(step, mean)
                if step % section.log_every == 0 and interval.became_slow(seconds):
                    alert("slow", step=step, steps_per_second=1.0 / seconds)
            tell(step, line)
            if save:
                with watch.during("saving"):
                    saves.begin(state, task.architecture, task.latent(state.ema_params))
            if written := saves.written():
                tell(step, written)
            show_every = section.sample_every
            if show_every and not stopped and (step % show_every == 0 or step == section.steps):
                # All is saved, or will be.
                with stop.at_once(saves.finish), watch.during("showing clips"):
                    task.show(state, step, log)
            if line:
                interval.start_clock()
            if last:
                break
        _trace(run, None)
        # Still within reach of the signals: one that comes late must not cut this short.
        with watch.during("the last checkpoint"):
            saves.finish()
        if written := saves.written():
            tell(step, written)
    if log:
        log.close()
    return Outcome(step, stopped=stopped and step < section.steps)


def _rate(config: FrozenConfigDict, step: int) -> float:
    """The learning rate that step number `step` (from 1) was taken at."""
    with jax.transfer_guard("allow"):
        return float(learning_rate(optimizer_options(config))(step - 1))


def _watchdog(section: FrozenConfigDict, tell: Callable) -> Watchdog:
    return Watchdog(
        60 * section.stall_minutes,
        60 * section.slow_minutes,
        ("config.train.stall_minutes", "config.train.slow_minutes"),
        lambda message: tell("stalled", message=message),
    )


def _trace(run: Run, number: int | None) -> None:
    """Begins and ends the trace of `run.profile` steps; `number` counts from this start's first."""
    if not run.profile:
        return
    if number == PROFILED:
        jax.profiler.start_trace(str(run.workdir / "profile"))
    elif number is None or number == PROFILED + run.profile:
        with contextlib.suppress(RuntimeError):  # it had not begun
            jax.profiler.stop_trace()
            print(f"traced {run.profile} steps into {run.workdir / 'profile'}", flush=True)
        run.profile = 0


@contextlib.contextmanager
def _fits(config: FrozenConfigDict) -> Iterator[None]:
    """Too little memory for a config as UserError: the same command would fail again and again."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        less = (
            "or set config.tae.remat"
            if is_autoencoder(config)
            else "raise config.train.accumulate, keep less (config.model.remat) or divide more "
            "(config.mesh.fsdp); `videojam plan` says what fits"
        )
        raise UserError(
            f"the training step does not fit into the memory of a device ({first_line(error)[:300]}): "
            f"lower config.train.batch_size ({config.train.batch_size}), {less}"
        ) from error


def _check_finite(run: Run, values: list[dict]) -> None:
    """Diverged when a metric of the last steps is not finite; nothing of them is saved.

    Steps that were left out do not count, unless there were too many of them in a row.
    """
    allowed = run.config.train.skip_bad_steps
    for step, metrics in enumerate(values, run.done - len(values) + 1):
        run.bad = run.bad + 1 if metrics.get("skipped") else 0
        if run.bad <= allowed and (run.bad or all(map(np.isfinite, metrics.values()))):
            continue
        run.saves.finish()
        good = latest_whole(run.workdir)
        options = run.config.optimizer
        what = "the loss or its gradient is not finite"
        if run.bad:
            what = (
                f"{run.bad} steps in a row were left out (config.train.skip_bad_steps is {allowed}), "
                f"the gradient of this one being {metrics['grad_norm']:.3g}"
            )
        raise Diverged(
            f"step {step}: {what}; "
            f"{f'the last good checkpoint is {good}' if good else 'there is no checkpoint yet'}; "
            f"lower config.optimizer.learning_rate ({options.learning_rate}) or "
            f"config.optimizer.clip_norm ({options.clip_norm}) and run again"
        )


def _told(error: Exception, run: Run) -> PeerLost:
    """What the loss of a process means for this run."""
    good = latest_whole(run.workdir)
    return PeerLost(
        f"another process of this run was lost at step {run.done} "
        f"({first_line(error)}); "
        f"{f'the last whole checkpoint is {good}' if good else 'there is no checkpoint yet'}"
    )


def _first_state(config, workdir, manager, task: Task, abstract) -> tuple[TrainState, str]:
    """The state to go on from, and one line that says where it comes from."""
    if manager.latest_step() is not None:
        state = checkpoint.restore(manager, abstract, task.architecture)
        return state, f"going on from {manager.directory / str(manager.latest_step())}"
    if not config.train.init_from:
        state = create_state(task.init, task.optimizer, abstract, config.seed)
        return state, "starting from random parameters"
    other = beside(config.train.init_from, workdir)
    params, step, how = task.from_run(other, abstract)
    state = state_from_params(params, task.optimizer, abstract)
    return state, f"starting from {place_of(other, step)} ({how})"


def _title(config: FrozenConfigDict, task: Task, abstract: TrainState, mesh: Mesh) -> str:
    sizes = " x ".join(f"{axis} {size}" for axis, size in mesh.shape.items())
    hosts = f" of {jax.process_count()} processes" if distributed.joined() else ""
    return (
        f"{task.title}: {parameter_count(abstract.params):,} parameters, {task.clips:,} clips, "
        f"batch {config.train.batch_size}, {config.train.steps:,} steps on "
        f"{jax.device_count()} {jax.devices()[0].device_kind} device(s){hosts} ({sizes})"
    )
