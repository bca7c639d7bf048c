"""One training step is one function, whatever mesh it is compiled for."""

import functools

import jax
import numpy as np
import pytest
import tiny_run

from videojam_jax.config import loading, modelling
from videojam_jax.parallel.batch import to_global
from videojam_jax.parallel.rules import replicated
from videojam_jax.text import Text
from videojam_jax.train.program import jitted_step, optimizer_of
from videojam_jax.train.state import abstract_state, create_state

MESHES = {
    "1x1x1x1": (1, 1, 1, 1),
    "2x4x1x1": (2, 4, 1, 1),
    "1x8x1x1": (1, 8, 1, 1),
    "2x2x1x2": (2, 2, 1, 2),
    "1x2x2x2": (1, 2, 2, 2),
    "1x1x4x2": (1, 1, 4, 2),
}
# Larger parameters than this may not lie whole on every device of an fsdp mesh.
SMALL = 1024


def config_on(shape, **changes):
    tiny = dict(word.removeprefix("--config.").split("=") for word in tiny_run.TINY)
    sizes = {f"mesh.{name}": str(n) for name, n in zip(("data", "fsdp", "context", "tensor"), shape)}
    size = {
        "model.motion": "True",
        "model.trunk.blocks": "2",
        "model.trunk.width": "64",
        "model.trunk.ffn": "128",
        "model.trunk.heads": "8",
        "text.width": "16",
        "optimizer.learning_rate": "0.01",
        "optimizer.warmup_steps": "0",
        # Adam divides by the gradient's own size, which blows up the rounding of a gradient
        # near zero to the size of the learning rate; this bounds it.
        "optimizer.eps": "1e-3",
    }
    return loading.load(f"{tiny_run.CONFIG}:base", tiny | size | sizes | changes)


def abstract(config):
    count = np.prod([config.mesh[axis] for axis in ("data", "fsdp", "context", "tensor")])
    mesh = modelling.mesh(config, jax.devices()[:count])
    return abstract_state(modelling.init(config), optimizer_of(config), mesh), mesh


@functools.cache
def first_state():
    """What a run starts from, on the host. That it is born alike on every mesh: below."""
    config = config_on((1, 1, 1, 1))
    shapes, _ = abstract(config)
    state = create_state(modelling.init(config), optimizer_of(config), shapes, config.seed)
    return jax.device_get(state)


def two_steps(config):
    """The states' parameters, and the metrics, after each of two steps."""
    shapes, mesh = abstract(config)
    state = jax.device_put(first_state(), jax.tree.map(lambda x: x.sharding, shapes))
    rng = np.random.default_rng(0)
    size = config.train.batch_size
    latent = (size, *modelling.latent_shape(config))
    length = config.text.max_length
    batch = {
        "video": rng.normal(size=latent).astype(np.float32),
        "motion": rng.normal(size=latent).astype(np.float32),
        "text": Text(
            rng.integers(1, 200, (size, length)).astype(np.int32),
            np.arange(length) < rng.integers(1, 30, (size, 1)),
        ),
    }
    null = Text(np.zeros(length, np.int32), np.arange(length) < 1)
    null = jax.device_put(null, replicated(mesh))
    step = jitted_step(config, mesh)
    batch = to_global(mesh, batch, size)
    told = []
    for _ in range(2):
        state, metrics = step(state, batch, null)
        told.append(jax.device_get(metrics))
    return state, told


@functools.cache
def on_mesh(name):
    return two_steps(config_on(MESHES[name]))


@pytest.fixture(scope="module")
def alone():
    state, told = on_mesh("1x1x1x1")
    return jax.device_get(state), told


def assert_same_run(got, wanted):
    (state, told), (wanted_state, wanted_told) = got, wanted
    for one, other in zip(told, wanted_told, strict=True):
        for name in other:
            np.testing.assert_allclose(one[name], other[name], rtol=2e-5, err_msg=name)

    def same(path, a, b):
        np.testing.assert_allclose(
            jax.device_get(a), b, rtol=1e-5, atol=2e-6, err_msg=jax.tree_util.keystr(path)
        )

    jax.tree_util.tree_map_with_path(same, state.params, wanted_state.params)
    jax.tree_util.tree_map_with_path(same, state.ema_params, wanted_state.ema_params)


# Each is a program to compile: what two axes at a time show is left to the long run.
LONG = ("2x2x1x2", "1x2x2x2")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in LONG else [])
        for name in MESHES
        if name != "1x1x1x1"
    ],
)
def test_a_step_is_the_same_on_every_mesh(name, alone):
    assert_same_run(on_mesh(name), alone)


def test_a_state_is_born_the_same_on_every_mesh():
    config = config_on((1, 2, 2, 2))
    shapes, _ = abstract(config)
    born = create_state(modelling.init(config), optimizer_of(config), shapes, config.seed)
    jax.tree.map(
        lambda a, b, like: (np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7),
                            np.testing.assert_equal(a.sharding, like.sharding)),
        born, first_state(), shapes,
    )  # fmt: skip


def test_a_step_in_parts_is_the_same_as_the_whole_batch_at_once(alone):
    parts = config_on((2, 1, 1, 1), **{"train.accumulate": "4"})
    assert_same_run(two_steps(parts), alone)


@pytest.mark.parametrize(
    "remat", ["full", "attention", "dots", pytest.param("offload", marks=pytest.mark.slow)]
)
def test_recomputation_changes_no_result(remat, alone):
    assert_same_run(two_steps(config_on((1, 2, 1, 1), **{"model.remat": remat})), alone)


def largest_replicated(state):
    """Elements and name of the largest array that every device holds whole."""
    whole = [
        (x.size, jax.tree_util.keystr(path))
        for path, x in jax.tree_util.tree_leaves_with_path(state)
        if x.sharding.is_fully_replicated
    ]
    return max(whole)


def test_no_large_parameter_is_whole_on_every_device_of_an_fsdp_mesh():
    state, _ = on_mesh("1x8x1x1")
    assert len(jax.tree.leaves(state)) > 100
    assert largest_replicated(state)[0] <= SMALL, largest_replicated(state)


@pytest.mark.parametrize("name", ["videojam_4b", "videojam_30b"])
def test_no_large_parameter_of_the_paper_s_models_is_whole_on_every_device(name):
    config = loading.load(
        str(tiny_run.ROOT / "configs" / f"{name}.py"), {"mesh.context": "1", "mesh.fsdp": "8"}
    )
    state = abstract_state(modelling.init(config), optimizer_of(config), modelling.mesh(config))
    # The tables that each block adds to the time's modulation: 7 MB of the 30B's 117 GB.
    largest, where = largest_replicated(state)
    assert "modulation" in where and largest == config.model.trunk.blocks * 6 * config.model.trunk.width
    assert largest < 2_000_000
