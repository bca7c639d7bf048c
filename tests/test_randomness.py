"""No two purposes of a seed draw the same numbers."""

import ast
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_run

from videojam_jax import randomness
from videojam_jax.config import loading, modelling
from videojam_jax.diffusion.loss import LossOptions
from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.parallel.parameters import abstract_params, create_params
from videojam_jax.randomness import PURPOSES, key_for
from videojam_jax.sample.generate import make_generate
from videojam_jax.text import Text
from videojam_jax.train.state import TrainState
from videojam_jax.train.step import make_step

PACKAGE = pathlib.Path(randomness.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def calls(path, names):
    """The calls of functions of these names in a file, `jax.random.key` or `key` alike."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in names:
            yield node


def test_a_purpose_keeps_its_number_since_saved_runs_go_on_with_it():
    assert PURPOSES == {
        "parameters": 1,
        "training": 2,
        "autoencoder_training": 3,
        "sampling": 4,
        "permutation": 5,
        "losses_over_t": 6,
    }


def test_no_two_purposes_share_a_key_nor_what_is_made_of_it():
    @jax.jit
    def derived(key):
        """A key, those of its steps and clips, and the parts these are divided into."""
        steps = jax.vmap(lambda step: jax.random.fold_in(key, step))(jnp.arange(50))
        parts = [jax.vmap(lambda k, n=n: jax.random.split(k, n))(steps) for n in (2, 4)]
        found = [key[None], steps, *(part.reshape(-1) for part in parts)]
        return jax.random.key_data(jnp.concatenate(found))

    sets = {
        (purpose, seed): {bytes(row) for row in np.asarray(derived(key_for(purpose, seed)))}
        for purpose in PURPOSES
        for seed in (0, 1, 2**31)
    }
    assert all(len(keys) == 1 + 50 + 4 * 50 for keys in sets.values())  # split(k, 4) starts as 2
    assert len(set.union(*sets.values())) == sum(map(len, sets.values()))


def test_nothing_else_in_the_package_makes_a_key_from_a_seed():
    makers = ("jax.random.key", "random.key", "jax.random.PRNGKey", "random.PRNGKey", "PRNGKey")
    found = {str(path.relative_to(PACKAGE)) for path in MODULES if any(calls(path, makers))}
    assert found == {"randomness.py"}


def test_every_key_says_what_it_is_for_and_every_purpose_is_used():
    named = {
        ast.literal_eval(call.args[0])
        for path in MODULES
        for call in calls(path, ("key_for", "randomness.key_for"))
    }
    assert named == set(PURPOSES)


SEED, COUNT = 5, 4


@pytest.fixture(scope="module")
def config():
    keys = dict(word.removeprefix("--config.").split("=", 1) for word in tiny_run.TINY)
    # Of a single rule: one evaluation of the model to compile.
    keys |= {"train.dataset": "none", "sample.guidance": "dit"}
    return loading.load(f"{tiny_run.CONFIG}:videojam", keys)


def training_noise(config):
    """Video and motion noise of the first sample of each of some training steps.

    The model answers with its parameters, which are zero: by one step of gradient descent
    they become the target, which is the noise where the clips are zero, times a number.
    """
    clips = jnp.zeros((2, *modelling.latent_shape(config)))
    step = jax.jit(
        make_step(
            lambda params, *_: (params["x"], params["d"]),
            optax.sgd(-clips.size / 2),
            LossOptions(),
            seed=SEED,
            ema_decay=0.9,
        )
    )
    text = Text(jnp.zeros((2, 1), jnp.int32), jnp.ones((2, 1), bool))
    batch = {"video": clips, "motion": clips, "text": text}
    params = {"x": clips, "d": clips}
    for number in range(COUNT):
        state = TrainState(jnp.int32(number), params, params, optax.sgd(0.0).init(params))
        after, _ = step(state, batch, text.row(0))
        yield from (after.params[name][0].ravel() for name in ("x", "d"))


def sampling_noise(config):
    """What the first clips of a run start from: a model that answers zero leaves them there."""
    init = modelling.init(config)
    mesh = make_mesh({"data": 1}, jax.devices()[:1])
    untrained = create_params(init, abstract_params(init, mesh), seed=0)
    for numbers, *halves in make_generate(config)(untrained, [""] * COUNT, SEED):
        for row in range(len(numbers)):
            yield from (half[row].ravel() for half in halves)


def test_the_noise_of_a_training_step_is_not_that_of_the_clip_of_its_number(config):
    training, sampling = map(np.stack, (list(training_noise(config)), list(sampling_noise(config))))
    assert training.shape == sampling.shape == (2 * COUNT, np.prod(modelling.latent_shape(config)))
    both = np.concatenate([training, sampling])
    np.testing.assert_allclose(both.std(1), 1, atol=0.2)
    alike = np.corrcoef(both) - np.eye(len(both))
    assert np.abs(alike).max() < 5 / np.sqrt(both.shape[1]), np.abs(alike).round(2)
