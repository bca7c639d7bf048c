"""What a checkpoint takes beside the disk: no program for each array."""

import jax
import jax.numpy as jnp
import numpy as np

from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.parallel.rules import replicated
from videojam_jax.train import checkpoint
from videojam_jax.train.state import TrainState


def test_what_all_devices_hold_is_written_without_a_program_for_each_of_them(tmp_path):
    whole = replicated(make_mesh({"data": 8}))
    compiled = []

    def listen(event, duration, **_):
        if "backend_compile" in event:
            compiled.append(event)

    arrays = {n: np.random.default_rng(n).normal(size=(8, n)).astype("f") for n in (3, 5)}
    arrays = {f"of_{n}": jax.device_put(array, whole) for n, array in arrays.items()}
    step = jax.device_put(np.int32(7), whole)
    state = TrainState(step, arrays, arrays, {"mu": arrays})
    jax.block_until_ready(state)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        jax.jit(lambda x: x - 1)(jnp.zeros(3))
        before = len(compiled)
        assert before, "the listener hears of compiled programs"
        with checkpoint.opened(tmp_path, keep=1) as manager:
            checkpoint.save(manager, state, {"model": 1})
            checkpoint.finish(manager)
            # Those of the fingerprint alone: one for all kinds of arrays, one for more of a kind.
            assert len(compiled) - before <= 2
            abstract = jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), state
            )
            jax.tree.map(
                np.testing.assert_array_equal,
                checkpoint.restore(manager, abstract, {"model": 1}),
                state,
            )
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
