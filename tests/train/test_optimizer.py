import dataclasses

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_run
import tiny_tae
from jax.sharding import NamedSharding, PartitionSpec

from videojam_jax.config import autoencoding, loading, modelling
from videojam_jax.config.training import OptimizerOptions
from videojam_jax.errors import UserError
from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.train.optimizer import (
    MUON_RMS,
    decays,
    learning_rate,
    make_optimizer,
    skipped,
    update_ema,
)
from videojam_jax.train.program import optimizer_of
from videojam_jax.train.state import abstract_state


@pytest.mark.parametrize("warmup", [0, 1, 4])
def test_learning_rate_rises_linearly_and_stays(warmup):
    rate = learning_rate(OptimizerOptions(learning_rate=0.5, warmup_steps=warmup))
    got = [float(rate(step)) for step in range(8)]
    want = [0.5 * min(1.0, (step + 1) / max(warmup, 1)) for step in range(8)]
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_the_last_steps_take_the_rate_linearly_to_zero():
    options = OptimizerOptions(learning_rate=0.5, warmup_steps=2, decay_steps=4, total_steps=10)
    rate = learning_rate(options)
    want = [0.25, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.375, 0.25, 0.125, 0.0, 0.0]
    np.testing.assert_allclose([float(rate(step)) for step in range(12)], want, rtol=1e-6)


def test_updates_are_those_of_adamw_on_clipped_gradients():
    options = OptimizerOptions(
        learning_rate=0.1, b1=0.8, b2=0.95, eps=1e-2, weight_decay=0.01, clip_norm=1.0
    )
    rng = np.random.default_rng(0)
    params = {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
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
            m = 0.8 * moments[name][0] + 0.2 * g
            v = 0.95 * moments[name][1] + 0.05 * g**2
            moments[name] = m, v
            direction = m / (1 - 0.8**step) / (np.sqrt(v / (1 - 0.95**step)) + 1e-2)
            decay = 0.01 * params[name] if name == "kernel" else 0.0
            params[name] = params[name] - 0.1 * (direction + decay)
    for name, value in params.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-4, atol=1e-6)


def shapes(init):
    return nn.unbox(jax.eval_shape(init, jax.random.key(0)))


def by_decay(params):
    """The last names of the parameters that decay, and of those that do not."""
    found = jax.tree_util.tree_leaves_with_path(decays(params))
    return tuple({path[-1].key for path, one in found if one == wanted} for wanted in (True, False))


@pytest.fixture(scope="module")
def scanned():
    """The shapes of a joint model whose two blocks are scanned."""
    tiny = dict(word.removeprefix("--config.").split("=") for word in tiny_run.TINY)
    tiny |= {"model.trunk.blocks": "2", "text.blocks": "1"}
    return shapes(modelling.init(loading.load(f"{tiny_run.CONFIG}:videojam", tiny)))


def test_only_matrices_decay_in_a_model_whose_blocks_are_scanned(scanned):
    assert scanned["trunk"]["blocks"]["norm_self"]["scale"].ndim == 2, "the trap"
    params = jax.tree.map(lambda x: np.full(x.shape, 2.0, np.float32), scanned)
    optimizer = make_optimizer(OptimizerOptions(learning_rate=0.5, weight_decay=0.1))

    @jax.jit
    def alone(params):
        """What the weight decay does where there is no gradient."""
        still = jax.tree.map(jnp.zeros_like, params)
        return optimizer.update(still, optimizer.init(params), params)[0]

    for path, update in jax.tree_util.tree_leaves_with_path(alone(params)):
        name = jax.tree_util.keystr(path)
        wanted = -0.5 * 0.1 * 2.0 if path[-1].key in ("kernel", "w_in", "w_out") else 0.0
        np.testing.assert_allclose(update, np.full(update.shape, wanted), rtol=1e-6, err_msg=name)


def test_every_parameter_that_is_trained_is_known_to_decay_or_not(scanned):
    matrices, others = by_decay(scanned)
    assert matrices == {"kernel", "w_in", "w_out"}
    tables = {"vocabulary", "positions", "t", "h", "w", "modulation"}
    assert others == {"scale", "bias", "b_in", "b_out"} | tables
    arguments = ["--config.reconstruction.adversarial=0.1", "--config.tae.attention=True"]
    tae = loading.load(tiny_tae.CONFIG, tiny_tae.overrides(*arguments))
    assert by_decay(shapes(autoencoding.init(tae))) == ({"kernel"}, {"scale", "bias"})


def test_what_the_optimizer_keeps_has_the_form_that_saved_runs_have(scanned):
    """Runs were saved while the mask went by the number of axes."""
    before = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(lambda _: 0.1, mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params)),
    )
    kept, wanted = (
        jax.eval_shape(optimizer.init, scanned)
        for optimizer in (make_optimizer(OptimizerOptions(learning_rate=0.1)), before)
    )
    assert jax.tree.structure(kept) == jax.tree.structure(wanted)
    assert jax.tree.leaves(kept) == jax.tree.leaves(wanted)


def test_the_first_moment_alone_may_be_kept_in_bfloat16():
    params = {"kernel": jnp.zeros((2, 2))}
    options = OptimizerOptions(learning_rate=0.1, first_moment_dtype="bfloat16")
    state = make_optimizer(options).init(params)
    kinds = {
        jax.tree_util.keystr(path): leaf.dtype
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
        if leaf.ndim
    }
    (mu,), (nu,) = ([kinds[k] for k in kinds if f".{name}" in k] for name in ("mu", "nu"))
    assert (mu, nu) == (jnp.bfloat16, jnp.float32)


def test_muon_orthogonalises_the_matrices_of_blocks_on_any_mesh_and_leaves_the_rest_to_adamw():
    rate, decay = 0.1, 0.01
    options = OptimizerOptions(
        rule="muon", learning_rate=rate, weight_decay=decay, clip_norm=1e9, b2=0.99
    )
    optimizer, rng = make_optimizer(options), np.random.default_rng(0)
    shapes = {"blocks": {"q": {"kernel": (2, 8, 16)}, "modulation": (6, 8)}, "w_in": (4, 8)}
    params, gradient = (
        jax.tree.map(
            lambda shape: rng.normal(size=shape).astype(np.float32), shapes, is_leaf=is_shape
        )
        for _ in range(2)
    )
    mesh = make_mesh({"data": 1, "fsdp": 4, "tensor": 2})
    whole = NamedSharding(mesh, PartitionSpec())
    split = {"blocks": {"q": {"kernel": NamedSharding(mesh, PartitionSpec(None, "fsdp", "tensor"))},
                        "modulation": whole}, "w_in": whole}  # fmt: skip

    @jax.jit
    def first(gradient, params):
        return optimizer.update(gradient, optimizer.init(params), params)[0]

    alone = first(gradient, params)
    divided = first(*jax.device_put((gradient, params), (split, split)))
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(divided), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)

    kernel, before = alone["blocks"]["q"]["kernel"], params["blocks"]["q"]["kernel"]
    for update, matrix, slope in zip(kernel, before, gradient["blocks"]["q"]["kernel"], strict=True):
        update = update + rate * decay * matrix
        found = np.linalg.svd(update / (-rate * MUON_RMS * np.sqrt(16)), compute_uv=False)
        assert found.min() > 0.6 and found.max() < 1.3, "near 1"
        u, _, v = np.linalg.svd(slope, full_matrices=False)
        assert (update * -(u @ v)).sum() > 0.95 * np.linalg.norm(update) * np.linalg.norm(u @ v)
        assert np.sqrt((update**2).mean()) == pytest.approx(rate * MUON_RMS, rel=0.2)
    # AdamW's very first update is of one size, and here without decay.
    for update, slope in (
        (alone["w_in"], gradient["w_in"]),
        (alone["blocks"]["modulation"], gradient["blocks"]["modulation"]),
    ):
        assert (np.sign(update) == -np.sign(slope)).all()
        np.testing.assert_allclose(np.abs(update), np.abs(update).flat[0], rtol=1e-3)


def is_shape(value):
    return isinstance(value, tuple)


def test_muon_s_state_is_born_on_a_mesh_and_has_one_moment_of_a_matrix():
    tiny = dict(word.removeprefix("--config.").split("=") for word in tiny_run.TINY)
    config = loading.load(f"{tiny_run.CONFIG}:videojam", tiny | {"optimizer.rule": "muon"})
    mesh = make_mesh({"data": 1, "fsdp": 8})
    state = abstract_state(modelling.init(config), optimizer_of(config), mesh)
    gate = state.params["trunk"]["blocks"]["ffn"]["gate"]["kernel"]
    like = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.opt_state)
        if jax.tree_util.keystr(path).endswith("['ffn']['gate']['kernel']")
    ]
    (moment,) = like
    assert (moment.shape, moment.sharding) == (gate.shape, gate.sharding)
    assert gate.sharding.shard_shape(gate.shape) != gate.shape


def test_muon_of_an_autoencoder_is_refused():
    config = loading.load(tiny_tae.CONFIG, tiny_tae.overrides("--config.optimizer.rule=muon"))
    with pytest.raises(UserError, match="optimizer.rule = 'muon': .* use adamw"):
        optimizer_of(config)


def test_what_videojam_adds_may_learn_at_a_rate_of_its_own():
    params = {"w_in": jnp.ones((4, 2)), "w_out": jnp.ones((2, 4)), "b_out": jnp.ones(4),
              "kernel": jnp.ones((2, 2))}  # fmt: skip
    same, faster, base = (
        make_optimizer(OptimizerOptions(learning_rate=0.1, **more)).update
        for more in ({"joint": True}, {"joint": True, "motion_rate": 5.0}, {"motion_rate": 5.0})
    )
    state = make_optimizer(OptimizerOptions(learning_rate=0.1)).init(params)
    faster_state = make_optimizer(
        OptimizerOptions(learning_rate=0.1, joint=True, motion_rate=5.0)
    ).init(params)
    wanted, _ = same(params, state, params)
    found, _ = faster(params, faster_state, params)
    chex.assert_trees_all_equal(base(params, state, params)[0], wanted)
    np.testing.assert_array_equal(found["kernel"], wanted["kernel"])
    np.testing.assert_allclose(found["w_in"], wanted["w_in"] * np.array([[1], [1], [5], [5]]))
    np.testing.assert_allclose(found["w_out"], wanted["w_out"] * np.array([1, 1, 5, 5]))
    np.testing.assert_allclose(found["b_out"], wanted["b_out"] * np.array([1, 1, 5, 5]))


def test_a_run_s_rate_ends_with_its_steps():
    tiny = dict(word.removeprefix("--config.").split("=") for word in tiny_run.TINY)
    tiny |= {"train.steps": "40", "optimizer.decay_steps": "20", "optimizer.warmup_steps": "0",
             "optimizer.learning_rate": "0.5", "optimizer.weight_decay": "1.0"}  # fmt: skip
    optimizer = optimizer_of(loading.load(tiny_run.CONFIG, tiny))
    params, still = {"kernel": jnp.ones(())}, {"kernel": jnp.zeros(())}
    state, moved = optimizer.init(params), []
    for _ in range(41):
        update, state = optimizer.update(still, state, params)
        moved.append(-float(update["kernel"]))  # the decay alone: the rate
    wanted = [0.5 * min(1.0, (40 - step) / 20) for step in range(41)]
    np.testing.assert_allclose(moved, wanted, atol=1e-6)


def test_average_of_the_parameters_follows_its_formula():
    ema, want = jnp.zeros(()), 0.0
    for step in range(40):
        ema = update_ema(ema, jnp.asarray(step, jnp.float32), 0.8, jnp.asarray(step))
        decay = min(0.8, (1 + step) / (10 + step))
        want = decay * want + (1 - decay) * step
    np.testing.assert_allclose(ema, want, rtol=1e-5)


def test_a_step_with_a_bad_gradient_changes_nothing_but_is_counted():
    options = OptimizerOptions(learning_rate=0.1, skip_bad_steps=True, skip_above=5.0)
    plain = make_optimizer(dataclasses.replace(options, skip_bad_steps=False))
    optimizer = make_optimizer(options)
    params = {"kernel": jnp.ones((3, 2))}

    @jax.jit
    def run(gradients):
        def one(carry, gradient):
            params, state = carry
            updates, state = optimizer.update({"kernel": gradient}, state, params)
            return (optax.apply_updates(params, updates), state), skipped(state)["skipped"]

        return jax.lax.scan(one, (params, optimizer.init(params)), gradients)

    @jax.jit
    def run_plain(gradients):
        def one(carry, gradient):
            params, state = carry
            updates, state = plain.update({"kernel": gradient}, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(one, (params, plain.init(params)), gradients)[0]

    rng = np.random.default_rng(0)
    usual = rng.normal(size=(60, 3, 2)).astype(np.float32)
    # Neither an early spike, before it is known what is usual, nor four usual norms are left out.
    usual[10] *= 50
    usual[58] *= 2
    bad = np.stack([np.full((3, 2), np.nan), np.full((3, 2), np.inf), 100 * np.ones((3, 2))])
    gradients = np.concatenate([usual[:5], bad[:1], usual[5:55], bad[1:], usual[55:]])
    (got, state), left_out = run(jnp.asarray(gradients, jnp.float32))
    want, _ = run_plain(jnp.asarray(usual))
    np.testing.assert_array_equal(np.flatnonzero(left_out), [5, 56, 57])
    np.testing.assert_allclose(got["kernel"], want["kernel"], rtol=1e-6)
    assert int(state.count) == 60 and skipped(plain.init(params)) == {}
