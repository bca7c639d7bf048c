"""Sampling on meshes: the same latents however they are computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run

from videojam_jax.config import frozen, loading, modelling, sampling
from videojam_jax.data.records import pad_text
from videojam_jax.diffusion import sampler
from videojam_jax.diffusion.guidance import RULES
from videojam_jax.parallel.fingerprint import fingerprint
from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.parallel.parameters import abstract_params
from videojam_jax.randomness import key_for
from videojam_jax.sample.generate import make_generate

CAPTIONS = ["a red disc falls", "", "two bodies", "a ball", "the last one"]
# Eight devices that share a batch, four, and two that each stand for four.
MESHES = [
    {"data": 2, "fsdp": 4},
    {"data": 4, "tensor": 2},
    {"data": 1, "fsdp": 2, "context": 2, "tensor": 2},
]


@pytest.fixture(scope="module")
def config():
    keys = dict(word.removeprefix("--config.").split("=", 1) for word in tiny_run.TINY)
    keys |= {"train.dataset": "none", "sample.batch_size": "4", "model.trunk.heads": "4"}
    keys |= {"loss.sigma_min": "0.1"}
    return loading.load(f"{tiny_run.CONFIG}:videojam", keys)


def params_on(config, sizes):
    """Random parameters, those that start as zeros too."""
    mesh = make_mesh(sizes, jax.devices()[: int(np.prod(list(sizes.values())))])
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: jax.device_put(rng.normal(0, 0.2, x.shape).astype(np.float32), x.sharding),
        abstract_params(modelling.init(config), mesh),
    )


def latents(config, params, **changes):
    with jax.transfer_guard("disallow"):
        return list(make_generate(config)(params, CAPTIONS, 3, **changes))


@pytest.fixture(scope="module")
def on_one_device(config):
    return latents(config, params_on(config, {"data": 1}))


@pytest.mark.parametrize("sizes", MESHES, ids=str)
def test_latents_are_the_same_on_every_mesh(config, on_one_device, sizes):
    found = latents(config, params_on(config, sizes))
    # Four at a time, or eight where eight devices share a batch.
    parts = sizes["data"] * sizes.get("fsdp", 1)
    batches = [range(0, 5)] if parts == 8 else [range(0, 4), range(4, 5)]
    assert [numbers for numbers, _, _ in found] == batches

    def joined(found, which):
        return np.concatenate([batch[which] for batch in found])

    assert np.abs(joined(on_one_device, 1)).max() > 1  # not rounding alone
    for which in (1, 2):
        np.testing.assert_allclose(joined(found, which), joined(on_one_device, which), atol=1e-4)


def test_finished_batches_are_left_out_and_the_others_stay_as_they_were(config, on_one_device):
    params = params_on(config, {"data": 1})
    ((numbers, video, motion),) = latents(config, params, finished={0, 1, 2, 3})
    assert numbers == range(4, 5)
    np.testing.assert_array_equal(video, on_one_device[1][1])
    np.testing.assert_array_equal(motion, on_one_device[1][2])
    assert len(latents(config, params, finished={0, 2, 3, 4})) == 1
    assert latents(config, params, finished=range(5)) == []


def test_a_fingerprint_is_of_the_parameters_and_not_of_their_mesh(config):
    one = params_on(config, {"data": 1})
    with jax.transfer_guard("disallow"):
        prints = {fingerprint(params_on(config, sizes)) for sizes in MESHES}
        assert prints == {fingerprint(one)}
        leaves, tree = jax.tree.flatten(one)
        values = np.array(jax.device_get(leaves[-1]))
        values.flat[0] = np.nextafter(values.flat[0], np.float32(9))
        leaves[-1] = jax.device_put(values, leaves[-1].sharding)
        assert fingerprint(jax.tree.unflatten(tree, leaves)) not in prints


@pytest.mark.parametrize("start", [1, 3])
def test_clips_are_noised_to_a_step_and_sampled_on_from_there(config, start):
    params = params_on(config, {"data": 1})
    shape = modelling.latent_shape(config)
    rng = np.random.default_rng(5)
    clean = [rng.normal(size=(len(CAPTIONS), *shape)).astype(np.float32) for _ in range(2)]
    with jax.transfer_guard("disallow"):
        made = list(make_generate(config, start)(params, CAPTIONS, 3, clean=clean))
    found = [np.concatenate([batch[which] for batch in made]) for which in (1, 2)]

    times = sampling.times(config)
    t = times[start]
    model, encoder = modelling.model(config), frozen.text(config)
    text, null = (
        jax.tree.map(
            jnp.asarray, pad_text(encoder.encode(captions), modelling.text_lengths(config))
        )
        for captions in (CAPTIONS, [""])
    )
    section = config.sample

    @jax.jit
    def reference(params, clean):
        noise = sampler.initial_noise(key_for("sampling", 3), jnp.arange(len(CAPTIONS)), shape)
        begun = [t * x1 + (1 - 0.9 * t) * x0 for x1, x0 in zip(clean, noise, strict=True)]
        segments = sampler.two_segments(
            lambda *args: model.apply({"params": params}, *args),
            RULES[section.guidance](section.w_text, section.w_motion),
            section.steps - start,
            max(sampling.inner_steps(config) - start, 0),
            null.row(0),
        )
        return sampler.sample(segments, *begun, text, times[start:])

    for one, other in zip(found, reference(params, clean), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4)


def halves(found):
    """Video and motion of all batches, each as one array."""
    return [np.concatenate([batch[which] for batch in found]) for which in (1, 2)]


def on_from(config, params, step, state):
    with jax.transfer_guard("disallow"):
        return list(make_generate(config, step)(params, CAPTIONS, 3, state=state))


# Of 4 steps the first 2 have the motion's guidance: one stop is before the change, one after it.
@pytest.mark.parametrize("step", [1, 3])
def test_sampling_that_stopped_goes_on_as_if_it_had_not(config, on_one_device, step):
    params = params_on(config, {"data": 1})
    with jax.transfer_guard("disallow"):
        begun = list(make_generate(config, stop=step)(params, CAPTIONS, 3))
    found = halves(on_from(config, params, step, halves(begun)))
    for one, other, before in zip(found, halves(on_one_device), halves(begun), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
        assert np.abs(one - before).max() > 0.1


def test_the_motion_that_a_state_lacks_is_what_the_model_reads_in_the_video(config):
    params, step = params_on(config, {"data": 1}), 3
    shape, t = modelling.latent_shape(config), sampling.times(config)[3]
    x = np.random.default_rng(6).normal(size=(len(CAPTIONS), *shape)).astype(np.float32)
    model, encoder = modelling.model(config), frozen.text(config)
    text = jax.tree.map(
        jnp.asarray, pad_text(encoder.encode(CAPTIONS), modelling.text_lengths(config))
    )

    @jax.jit
    def read(params, x):
        _, d0 = sampler.initial_noise(key_for("sampling", 3), jnp.arange(len(CAPTIONS)), shape)
        at = jnp.full(len(CAPTIONS), t, jnp.float32)
        u_d = model.apply({"params": params}, x, jnp.zeros_like(x), at, text)[1]
        return t * u_d + (1 - 0.9 * t) * d0  # sigma_min is 0.1

    wanted = halves(on_from(config, params, step, [x, np.asarray(read(params, x))]))
    for one, other in zip(halves(on_from(config, params, step, [x])), wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4)


def test_a_base_model_takes_the_video_of_a_joint_state(config):
    tree = config.to_dict()
    tree["model"]["motion"] = False
    tree["sample"]["guidance"] = "dit"
    base = loading.resolve(tree)
    params = params_on(base, {"data": 1})
    whole = latents(base, params)
    with jax.transfer_guard("disallow"):
        begun = list(make_generate(base, stop=3)(params, CAPTIONS, 3))
    x = np.concatenate([video for _, video, _ in begun])
    found = on_from(base, params, 3, [x, np.full_like(x, np.nan)])
    for (_, one, d), (_, other, _) in zip(found, whole, strict=True):
        assert d is None
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_sampling_from_a_step_without_anything_to_begin_from_is_refused(config):
    with pytest.raises(ValueError, match="step 3"):
        on_from(config, params_on(config, {"data": 1}), 3, ())


def test_solver_guidance_and_weights_are_those_of_the_config(config, monkeypatch):
    asked = []

    class Traced(Exception):
        """The sampler has come to its solver."""

    def solver(*_):
        raise Traced

    def rule(*weights):
        asked.append(weights)
        return RULES["ip2p"](*weights)

    # Stand-ins under names that are not the defaults.
    monkeypatch.setitem(sampler.SOLVERS, "heun", solver)
    monkeypatch.setitem(RULES, "no_text_guidance", rule)
    sections = config.to_dict()
    sections["sample"] |= {"solver": "heun", "guidance": "no_text_guidance"}
    sections["sample"] |= {"w_text": 7.0, "w_motion": 2.0}
    with pytest.raises(Traced):
        latents(loading.resolve(sections), params_on(config, {"data": 1}))
    assert asked == [(7.0, 2.0)]
