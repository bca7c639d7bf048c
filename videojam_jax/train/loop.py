"""The training job, from top to bottom: the same for every model that is trained.

A run is a workdir: `config.json`, `metrics.jsonl`, `tensorboard/`, `samples/` and
`checkpoints/`. The same command on the same workdir goes on where it stopped, on any
number of processes. All of them run this; process 0 alone writes config and metrics.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh
from ml_collections import FrozenConfigDict

from videojam_jax.checkpoints.read import latest_whole, place_of
from videojam_jax.config.loading import beside, is_autoencoder
from videojam_jax.errors import PeerLost, UserError, first_line
from videojam_jax.files import write_whole
from videojam_jax.parallel import distributed
from videojam_jax.parallel.batch import to_global
from videojam_jax.terminal.progress import progress
from videojam_jax.train import checkpoint
from videojam_jax.train.autoencoding import Autoencoding
from videojam_jax.train.generation import Generation
from videojam_jax.train.program import parameter_count, training_mesh
from videojam_jax.train.run_log import RunLog, describe
from videojam_jax.train.state import (
    TrainState,
    abstract_state,
    create_state,
    state_from_params,
)
from videojam_jax.train.stop import stop_request
from videojam_jax.train.task import Task


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended: at which step, and whether a signal stopped it early."""

    step: int
    stopped: bool


@dataclasses.dataclass
class Run:
    """What the loop works with.

    Attributes:
      step: `step(state, batch) -> (state, metrics)`.
      batches: this process's rows of the batches that follow step `done`.
      task: what is trained.
      floors: its `floors()`.
      done: the last step that was given to the devices.
    """

    config: FrozenConfigDict
    workdir: Path
    mesh: Mesh
    manager: ocp.CheckpointManager
    step: Callable
    batches: Iterator[dict]
    task: Task
    floors: dict[str, float]
    done: int


def train(config: FrozenConfigDict, config_json: str, workdir: Path) -> Outcome:
    """Train until `config.train.steps`, or until SIGTERM (or Ctrl-C), whichever is first.

    Raises:
      UserError: the data, a checkpoint or the mesh does not fit the config; the
        loss is no longer finite; a checkpoint could not be written.
      PeerLost: another process of the run is gone.
    """
    # --- mesh, model, data, shapes of the state ---------------------------------------
    mesh = training_mesh(config)
    kind = Autoencoding if is_autoencoder(config) else Generation
    task = kind(config, workdir, mesh)
    abstract = abstract_state(task.init, task.optimizer, mesh)
    print(_title(config, task, abstract, mesh), flush=True)

    section = config.train
    with checkpoint.opened(workdir, section.keep, section.keep_steps) as manager:
        # --- state: resumed, or from another run, or fresh ----------------------------
        state, origin = _first_state(config, workdir, manager, task, abstract)
        start = int(jax.device_get(state.step))
        print(origin, flush=True)
        if distributed.leader():
            write_whole(workdir / "config.json", config_json)
        if start >= config.train.steps:
            return Outcome(start, stopped=False)

        # --- step, loop ---------------------------------------------------------------
        step, batches = task.jitted_step(), task.batches(start)
        floors = task.floors()
        if floors:
            words = (f"{name.removesuffix('_floor')} {floor:.4f}" for name, floor in floors.items())
            print(f"linear floor of the loss: {', '.join(words)}", flush=True)
        run = Run(config, workdir, mesh, manager, step, batches, task, floors, done=start)
        try:
            return _loop(run, state)
        except Exception as error:
            if not distributed.peer_lost(error):
                raise
            raise _told(error, run) from error


def _loop(run: Run, state: TrainState) -> Outcome:
    section, task = run.config.train, run.task
    first = run.done + 1
    log = RunLog(run.workdir, run.done) if distributed.leader() else None
    interval = Interval()

    with (
        stop_request(run.mesh) as stop,
        progress(section.steps, run.done, "steps") as tell,
    ):
        for step in range(first, section.steps + 1):
            batch = to_global(run.mesh, next(run.batches), section.batch_size)
            with _fits(run.config) if step == first else contextlib.nullcontext():
                state, metrics = run.step(state, batch)
                run.done = step
                interval.add(metrics)
                if step == first:
                    # It compiles; what is left to wait is told from the steps that follow.
                    jax.block_until_ready(metrics)
                    interval.start_clock()

            stopped = stop.agreed()
            last = stopped or step == section.steps
            save = last or step % section.checkpoint_every == 0 or step in section.keep_steps
            line = None
            if save or step % section.log_every == 0:
                seconds, values = interval.fetch()
                _check_finite(run, values)
                mean = {name: float(np.mean([v[name] for v in values])) for name in values[0]}
                mean |= run.floors | task.rate(1.0 / seconds)
                line = describe(
                    step, section.steps, mean, seconds * (section.steps - step)
                )
                if log:
                    log.scalars(step, mean)
            tell(step, line)
            if save:
                latent = task.latent(state.ema_params)
                checkpoint.save(run.manager, state, task.architecture, latent)
            show_every = section.sample_every
            if show_every and (step % show_every == 0 or step == section.steps):
                task.show(state, step, log)
            if line:
                interval.start_clock()
            if last:
                break
        # Still within reach of the signals: one that comes late must not cut this short.
        checkpoint.finish(run.manager)
    if log:
        log.close()
    return Outcome(step, stopped=stopped and step < section.steps)


class Interval:
    """The steps since the last line: their metrics, still on the devices, and their time."""

    def __init__(self):
        self._metrics: list[dict] = []
        self.start_clock()

    def start_clock(self) -> None:
        self._since, self._steps = time.perf_counter(), 0

    def add(self, metrics: dict) -> None:
        self._metrics.append(metrics)
        self._steps += 1

    def fetch(self) -> tuple[float, list[dict]]:
        """Seconds a step, and the metrics of each; waits for the devices and forgets both."""
        values = jax.device_get(self._metrics)
        seconds = (time.perf_counter() - self._since) / max(self._steps, 1)
        self._metrics = []
        return seconds, values


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
    """UserError when a metric of the last steps is not finite; nothing of them is saved."""
    for step, metrics in enumerate(values, run.done - len(values) + 1):
        if all(np.isfinite(value) for value in metrics.values()):
            continue
        checkpoint.finish(run.manager)
        good = latest_whole(run.workdir)
        options = run.config.optimizer
        raise UserError(
            f"step {step}: the loss or its gradient is not finite; "
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
