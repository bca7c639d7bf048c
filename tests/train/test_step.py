import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_run

from videojam_jax.config import loading, modelling, training
from videojam_jax.diffusion.loss import LossOptions, noised_batch
from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.parallel.parameters import abstract_params, create_params
from videojam_jax.randomness import key_for
from videojam_jax.text import Text
from videojam_jax.train.program import jitted_step, optimizer_of, parameter_count
from videojam_jax.train.state import (
    TrainState,
    abstract_state,
    create_state,
)
from videojam_jax.train.step import make_step
from videojam_jax.train.throughput import PEAK_FLOPS, peak_flops


@pytest.fixture(scope="module")
def config():
    tiny = dict(word.removeprefix("--config.").split("=") for word in tiny_run.TINY)
    fast = {"optimizer.learning_rate": "0.02", "optimizer.warmup_steps": "0"}
    fast |= {"loss.motion_weight": "0.5", "seed": "3"}
    return loading.load(f"{tiny_run.CONFIG}:base", tiny | fast | {"model.motion": "True"})


def empty_caption(config):
    null = jnp.zeros(config.text.max_length, jnp.int32)
    return Text(null, null == 0)


@pytest.fixture(scope="module")
def step(config):
    null = empty_caption(config)
    compiled = jitted_step(config, make_mesh({"data": 1}, jax.devices()[:1]))
    return lambda state, data: compiled(state, data, null)


def born(config, mesh):
    init, optimizer = modelling.init(config), optimizer_of(config)
    return create_state(init, optimizer, abstract_state(init, optimizer, mesh), config.seed)


@pytest.fixture(scope="module")
def fresh(config):
    """A fresh state each time it is called: a step takes its arrays away."""
    state = born(config, make_mesh({"data": 1}, jax.devices()[:1]))
    held, shardings = jax.device_get(state), jax.tree.map(lambda x: x.sharding, state)
    return lambda: jax.device_put(held, shardings)


def batch(config, seed=0):
    rng = np.random.default_rng(seed)
    shape = (config.train.batch_size, *modelling.latent_shape(config))
    text = rng.integers(1, 200, (shape[0], config.text.max_length))
    return {
        "video": jnp.asarray(rng.normal(size=shape), jnp.bfloat16),
        "motion": jnp.asarray(rng.normal(size=shape), jnp.bfloat16),
        "text": Text(jnp.asarray(text, jnp.int32), jnp.ones(text.shape, bool)),
    }


def test_a_step_moves_everything_that_can_move_and_counts(config, step, fresh):
    before = jax.device_get(fresh())
    after, metrics = step(fresh(), batch(config))
    assert int(after.step) == 1
    assert set(metrics) == {"loss", "appearance_loss", "motion_loss", "grad_norm"}
    assert all(np.isfinite(float(value)) for value in metrics.values())
    total = metrics["appearance_loss"] + config.loss.motion_weight * metrics["motion_loss"]
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-6)
    assert np.abs(after.params["w_out"] - before.params["w_out"]).max() > 0
    trees = after.ema_params, before.params, after.params
    for one, start, moved in zip(*map(jax.tree.leaves, trees), strict=True):
        # The first decay is 1 / 10, see `optimizer.update_ema`.
        np.testing.assert_allclose(one, 0.1 * start + 0.9 * moved, rtol=1e-5, atol=1e-7)


def test_the_first_loss_of_a_model_that_answers_zero_is_the_mean_square_of_its_target(
    config, step, fresh
):
    data = batch(config)
    _, metrics = step(fresh(), data)
    noised = noised_batch(
        *(data[name].astype(jnp.float32) for name in ("video", "motion")),
        data["text"], empty_caption(config),
        jax.random.fold_in(key_for("training", config.seed), 0), training.loss_options(config),
    )  # fmt: skip
    for name, target in (("appearance", noised.v_x), ("motion", noised.v_d)):
        np.testing.assert_allclose(metrics[f"{name}_loss"], jnp.square(target).mean(), rtol=1e-5)


def test_a_step_of_gradient_descent_by_hand():
    """The model answers with its parameters, w: the gradient is 2 (w - v) / n for the target v."""
    w, size = jnp.full((2, 2, 2, 2, 3), 0.5), 48
    video, text = jnp.ones(w.shape), Text(jnp.zeros((2, 1), jnp.int32), jnp.ones((2, 1), bool))
    by_hand = make_step(
        lambda params, *_: (params, None), optax.sgd(0.1), LossOptions(), seed=4, ema_decay=0.75
    )
    state = TrainState(jnp.int32(30), w, jnp.zeros_like(w), optax.sgd(0.1).init(w))
    given = {"video": video, "text": text}
    after, metrics = jax.jit(by_hand)(state, given, text.row(0))
    key = jax.random.fold_in(key_for("training", 4), 30)
    v = noised_batch(video, None, text, text.row(0), key, LossOptions()).v_x
    gradient = 2 * (w - v) / size
    np.testing.assert_allclose(metrics["loss"], jnp.square(w - v).mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["grad_norm"], jnp.sqrt(jnp.sum(gradient**2)), rtol=1e-6)
    np.testing.assert_allclose(after.params, w - 0.1 * gradient, rtol=1e-6)
    # By then the decay of the average is that of the config.
    np.testing.assert_allclose(after.ema_params, 0.25 * after.params, rtol=1e-6)
    assert int(after.step) == 31


def test_a_fresh_state_and_fresh_parameters_are_those_of_their_seed():
    def init(key):
        return {"w": jax.random.normal(key, (4,))}

    mesh = make_mesh({"data": 1}, jax.devices()[:1])
    sgd = optax.sgd(0.1)
    abstract = abstract_state(init, sgd, mesh)
    for seed in (0, 5):
        wanted = init(key_for("parameters", seed))["w"]
        state = create_state(init, sgd, abstract, seed)
        params = create_params(init, abstract_params(init, mesh), seed)
        for found in (state.params, state.ema_params, params):
            np.testing.assert_allclose(found["w"], wanted, rtol=1e-6)


def test_randomness_is_a_function_of_seed_and_step(config, step, fresh):
    one, metrics = step(fresh(), batch(config))
    two, again = step(fresh(), batch(config))
    assert float(metrics["loss"]) == float(again["loss"])
    chex.assert_trees_all_equal(one, two)
    later = fresh()
    later = later.replace(step=later.step + 7)
    _, other = step(later, batch(config))
    assert float(other["loss"]) != float(metrics["loss"])


def test_repeated_steps_on_one_batch_lower_its_loss(config, step, fresh):
    state, data = fresh(), batch(config)
    # Something to learn: all clips alike. (Noise can be learned by heart alone.)
    data = data | {name: jnp.full_like(data[name], 2) for name in ("video", "motion")}
    losses = []
    for _ in range(60):
        state, metrics = step(state, data)
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10]), losses


def test_a_state_is_born_sharded(config):
    mesh = make_mesh({"data": 1, "fsdp": 8})
    state = born(config, mesh)
    kernel = state.params["trunk"]["blocks"]["ffn"]["gate"]["kernel"]
    assert kernel.sharding.shard_shape(kernel.shape)[1] == kernel.shape[1] // 8
    jax.tree.map(lambda p, e: np.testing.assert_equal(p.sharding, e.sharding),
                 state.params, state.ema_params)


@pytest.mark.parametrize(
    ("name", "billions"), [("videojam_4b", 4.9), ("videojam_30b", 29.3)]
)
def test_the_models_of_the_paper_s_configs_have_the_size_of_the_closed_form(name, billions):
    config = loading.load(str(tiny_run.ROOT / "configs" / f"{name}.py"))
    init, optimizer = modelling.init(config), optimizer_of(config)
    state = abstract_state(init, optimizer, make_mesh({"data": 1, "fsdp": -1}))
    count = parameter_count(state.params)
    # The closed form: attention 4 d^2, cross-attention 4 d^2, SwiGLU 3 d f, and norms and table.
    trunk = config.model.trunk
    blocks = trunk.blocks * (8 * trunk.width**2 + 3 * trunk.width * trunk.ffn + 9 * trunk.width)
    got = parameter_count(state.params["trunk"]["blocks"])
    assert got == blocks
    assert abs(count / 1e9 - billions) < 0.1, count
    assert modelling.token_count(config) == 4096


def test_an_unknown_device_has_no_peak():
    assert peak_flops(jax.devices()) is None


@dataclasses.dataclass(frozen=True)
class Core:
    id: int
    coords: tuple
    device_kind: str = "TPU7x"


def test_the_peak_of_a_chip_is_shared_by_its_devices():
    cores = [Core(i, (i // 2, 0, 0)) for i in range(4)]
    assert peak_flops(cores) == PEAK_FLOPS["TPU7x"] / 2
    assert peak_flops(cores[::2]) == PEAK_FLOPS["TPU7x"]
