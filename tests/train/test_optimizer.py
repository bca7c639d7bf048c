import jax.numpy as jnp
import numpy as np
import optax
import pytest

from videojam_jax.train.optimizer import (
    OptimizerOptions,
    learning_rate,
    make_optimizer,
    update_ema,
)


@pytest.mark.parametrize("warmup", [0, 1, 4])
def test_learning_rate_rises_linearly_and_stays(warmup):
    rate = learning_rate(OptimizerOptions(0.5, warmup_steps=warmup))
    got = [float(rate(step)) for step in range(8)]
    want = [0.5 * min(1.0, (step + 1) / max(warmup, 1)) for step in range(8)]
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_the_last_steps_take_the_rate_linearly_to_zero():
    rate = learning_rate(OptimizerOptions(0.5, warmup_steps=2, decay_steps=4, total_steps=10))
    want = [0.25, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.375, 0.25, 0.125, 0.0, 0.0]
    np.testing.assert_allclose([float(rate(step)) for step in range(12)], want, rtol=1e-6)


def test_updates_are_those_of_adamw_on_clipped_gradients():
    options = OptimizerOptions(0.1, b1=0.9, b2=0.95, eps=1e-8, weight_decay=0.01, clip_norm=1.0)
    rng = np.random.default_rng(0)
    params = {"w": rng.normal(size=(3, 2)), "b": rng.normal(size=2)}
    got = {name: jnp.asarray(value, jnp.float32) for name, value in params.items()}
    optimizer = make_optimizer(options)
    state = optimizer.init(got)
    moments = {name: (0.0, 0.0) for name in params}
    for step in range(1, 6):
        gradient = {name: 3 * rng.normal(size=value.shape) for name, value in params.items()}
        updates, state = optimizer.update(
            {name: jnp.asarray(g, jnp.float32) for name, g in gradient.items()}, state, got
        )
        got = optax.apply_updates(got, updates)

        norm = np.sqrt(sum((g**2).sum() for g in gradient.values()))
        for name, g in gradient.items():
            g = g / max(norm, 1.0)
            m = 0.9 * moments[name][0] + 0.1 * g
            v = 0.95 * moments[name][1] + 0.05 * g**2
            moments[name] = m, v
            direction = m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.95**step)) + 1e-8)
            decay = 0.01 * params[name] if name == "w" else 0.0  # vectors do not decay
            params[name] = params[name] - 0.1 * (direction + decay)
    for name, value in params.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-4, atol=1e-6)


def test_average_of_the_parameters_follows_its_formula():
    ema, want = jnp.zeros(()), 0.0
    for step in range(40):
        ema = update_ema(ema, jnp.asarray(step, jnp.float32), 0.8, jnp.asarray(step))
        decay = min(0.8, (1 + step) / (10 + step))
        want = decay * want + (1 - decay) * step
    np.testing.assert_allclose(ema, want, rtol=1e-5)
