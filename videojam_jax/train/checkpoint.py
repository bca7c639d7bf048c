"""Checkpoints on disk (orbax): whole or absent, and of a known architecture.

A checkpoint is a folder `checkpoints/STEP` with the items `params`, `ema_params`,
`rest` (step and optimizer state), `architecture` (the config sections that fix the
shapes), `bits` (a fingerprint of all arrays, to see what a disk changed) and, of an
autoencoder, `latent` (shift and scale of its latents). orbax writes under a temporary name and
renames when everything is on disk, so a folder with a number is whole, unless it was damaged
later: such a one is set aside as `damaged_STEP`, and the one before it is used.
"""

import contextlib
import math
import shutil
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from videojam_jax.checkpoints.read import (
    FOLDER,
    Damaged,
    check_architecture,
    read_json,
    reading,
)
from videojam_jax.config.training import RunOptions
from videojam_jax.errors import MayPass, UserError, caused, first_line
from videojam_jax.parallel import distributed
from videojam_jax.parallel.fingerprint import fingerprint
from videojam_jax.train.state import TrainState

# Bytes: a smaller part of an array is not worth its own program to cut it out, nor a write.
SLICE = 2**20


@contextlib.contextmanager
def opened(
    workdir: Path,
    keep: int,
    keep_steps: Collection[int] = (),
    keep_every: int = 0,
    slow_minutes: float = RunOptions.slow_minutes,
) -> Iterator[ocp.CheckpointManager]:
    """A run's checkpoints, to write to.

    The last `keep`, those of `keep_steps` and those of every `keep_every` steps are kept; the
    processes wait for one another's parts of one for `slow_minutes`.

    What it had half written when it was killed is cleared away. They are closed at the end, but
    not after an error of one of several processes: closing waits for all of them to finish what
    they were writing.
    """
    kept = [policies.LatestN(keep), policies.CustomSteps(list(keep_steps))]
    if keep_every:
        kept.append(policies.EveryNSteps(keep_every))
    manager = ocp.CheckpointManager(
        (workdir / FOLDER).absolute(),
        options=ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(kept),
            create=True,
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
            async_options=ocp.AsyncOptions(
                timeout_secs=math.ceil(60 * slow_minutes), barrier_sync_fn=_wait_for_others
            ),
        ),
        handler_registry=_handlers(),
    )
    try:
        yield manager
    except BaseException:
        if not distributed.joined():
            manager.close()
        raise
    manager.close()


def _handlers() -> ocp.handlers.DefaultCheckpointHandlerRegistry:
    """orbax's own, but for what several devices hold alike and is small: one of them writes it.

    Else each would write its share, and every shape and device compile a program that cuts it
    out: hundreds before the first checkpoint.
    """
    arrays = ocp.type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=SLICE)
    kinds = ocp.type_handlers.create_type_handler_registry((jax.Array, arrays))
    handlers = ocp.handlers.DefaultCheckpointHandlerRegistry()
    handlers.add(
        None, ocp.args.PyTreeSave, ocp.PyTreeCheckpointHandler(type_handler_registry=kinds)
    )
    return handlers


def _wait_for_others(*, key: str, timeout_ms: int) -> None:
    """orbax's barrier between the processes that write a checkpoint, but for one that failed.

    orbax has it wait, on the way out of its error, for the others, who wait for its part.
    """
    error = sys.exc_info()[1]
    if error is not None:
        raise error
    ocp.multihost.get_barrier_sync_fn()(key=key, timeout_ms=timeout_ms)


def save(
    manager: ocp.CheckpointManager,
    state: TrainState,
    architecture: dict,
    latent: dict | None = None,
) -> None:
    """Begin to write `state` in the background; a step that is already there is left.

    `latent` is what was measured of an autoencoder's latents: one more item.
    """
    step = int(jax.device_get(state.step))
    if step in manager.all_steps():
        return
    _check_space(manager, state)
    items = {
        "params": ocp.args.PyTreeSave(state.params),
        "ema_params": ocp.args.PyTreeSave(state.ema_params),
        "rest": ocp.args.PyTreeSave({"step": state.step, "opt_state": state.opt_state}),
        "architecture": ocp.args.JsonSave(architecture),
        "bits": ocp.args.JsonSave({"fingerprint": fingerprint(state)}),
    }
    if latent is not None:
        items["latent"] = ocp.args.JsonSave(latent)
    try:
        manager.save(step, args=ocp.args.Composite(**items), force=True)
    except Exception as error:
        if distributed.peer_lost(error):
            raise
        raise _write_error(manager, error) from error


def _check_space(manager: ocp.CheckpointManager, state: TrainState) -> None:
    """Before anything is written: a disk that fills up on the way fails late and loudly.

    All processes write to one folder, and go by the one that sees the least of it free.
    """
    wanted = size(state)
    free = float(distributed.gather(np.float32(shutil.disk_usage(manager.directory).free)).min())
    if free < wanted:
        raise UserError(
            f"{manager.directory}: the disk is full: a checkpoint takes {wanted / 1e6:,.0f} MB and "
            f"{free / 1e6:,.0f} MB are free; the last whole one is step {manager.latest_step()}"
        )


def size(state: TrainState) -> int:
    """Bytes of all its arrays."""
    return sum(x.nbytes for x in jax.tree.leaves(state))


def finish(manager: ocp.CheckpointManager) -> None:
    """Wait until everything that was begun is on disk."""
    try:
        manager.wait_until_finished()
    except Exception as error:
        if distributed.peer_lost(error):
            raise
        raise _write_error(manager, error) from error


def restore(manager: ocp.CheckpointManager, abstract: TrainState, architecture: dict) -> TrainState:
    """The latest state, laid out as `abstract` says (any mesh may read any checkpoint).

    One that was damaged on the disk is set aside under the name `damaged_STEP`, by all processes
    alike, and the one before it is read.

    Raises:
      UserError: the latest is of another architecture; or all were damaged.
      MayPass: the disk does not answer.
    """
    said = ""
    for step in sorted(manager.all_steps(), reverse=True):
        folder = manager.directory / str(step)
        state, bits, problem = _read(manager, step, abstract, architecture)
        # A file may be damaged that one process alone reads; they go on together or not at all.
        found = distributed.gather(np.bool_(problem is not None))
        if found.any():
            said = problem or f"process {int(found.argmax())} could not read its part"
        elif bits is not None and fingerprint(state) != bits["fingerprint"]:
            said = "its arrays are not those that were saved"
        else:
            return state
        aside = folder.with_name(f"damaged_{step}")
        if distributed.leader():
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
        distributed.barrier(f"{aside} is set aside")
        print(f"{folder} was damaged ({said}): it is {aside.name} now", flush=True)
        manager.reload()
    raise UserError(
        f"{manager.directory}: all checkpoints were damaged, the last of them: {said}. Put a whole "
        "one back in the place of damaged_STEP, or run again to begin anew"
    )


def _read(
    manager: ocp.CheckpointManager, step: int, abstract: TrainState, architecture: dict
) -> tuple[TrainState | None, dict | None, str | None]:
    """State and fingerprint of one step; or what is wrong with it, as this process sees it."""
    folder = manager.directory / str(step)
    wanted = {
        "params": abstract.params,
        "ema_params": abstract.ema_params,
        "rest": {"step": abstract.step, "opt_state": abstract.opt_state},
    }
    try:
        check_architecture(manager, step, architecture)
        bits = read_json(manager, step, "bits")  # runs that were begun before have none
        # By orbax's handler and not its manager, where a process that reads all of its part
        # would wait at a barrier for one that cannot.
        with reading(folder), contextlib.closing(ocp.StandardCheckpointHandler()) as handler:
            found = {
                name: handler.restore(folder / name, args=ocp.args.StandardRestore(item))
                for name, item in wanted.items()
            }
    except Damaged as error:
        return None, None, error.said
    return TrainState(**found.pop("rest"), **found), bits, None


def _write_error(manager: ocp.CheckpointManager, error: Exception) -> UserError | MayPass:
    return caused(
        f"{manager.directory}: the checkpoint could not be written "
        f"({first_line(error)}); "
        f"the last whole one is step {manager.latest_step()}",
        error,
    )
