"""Text of several encoders in one model: each part through its own layers, order free."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videojam_jax.data.records import pad_text
from videojam_jax.models.joint import VideoModel
from videojam_jax.models.trunks.movie_gen import MovieGenTrunk
from videojam_jax.text import Text

PARTS = ((6, 12), (3, 8))  # (tokens, width) of each encoder
LENGTHS = tuple(tokens for tokens, _ in PARTS)
LATENT = (2, 2, 4, 4, 3)


TIME = np.full((2,), 0.5, np.float32)
X = np.random.default_rng(2).normal(size=LATENT).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    """Parameters none of which is zero (as `W_out` is at first), and the program."""
    trunk = MovieGenTrunk(blocks=1, width=16, ffn=32, heads=2, positions=(2, 2, 2))
    module = VideoModel(trunk, 3, motion=False, text_parts=PARTS)
    text = pad_text([texts(0), texts(1)], LENGTHS)
    shapes = nn.unbox(jax.eval_shape(module.init, jax.random.key(0), X, None, TIME, text))
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: np.asarray((x.ndim < 2) + 0.3 * rng.normal(size=x.shape), x.dtype), shapes
    )
    apply = jax.jit(lambda *given: module.apply(*given)[0])
    return params, lambda text: np.asarray(apply(params, X, None, TIME, text))


def texts(seed, lengths=(4, 2)):
    """One text of both encoders, as a record holds it."""
    rng = np.random.default_rng(seed)
    return [
        rng.normal(size=(length, width)).astype(np.float32)
        for length, (_, width) in zip(lengths, PARTS, strict=True)
    ]


def velocity(model, *rows):
    _, apply = model
    return apply(pad_text(rows, LENGTHS))


def test_every_encoder_has_a_linear_and_a_norm_of_its_own(model):
    params = model[0]["params"]
    assert params["text_in_0"]["kernel"].shape == (12, 16)
    assert params["text_in_1"]["kernel"].shape == (8, 16)
    assert {"text_norm_0", "text_norm_1"} <= set(params) and "text_in" not in params


@pytest.mark.parametrize("part", [0, 1])
def test_the_velocity_depends_on_the_text_of_each_encoder(model, part):
    one, other = texts(0), texts(0)
    other[part] = texts(5)[part]
    difference = velocity(model, one, one) - velocity(model, other, one)
    assert np.abs(difference[0]).max() > 1e-3
    np.testing.assert_allclose(difference[1], 0, atol=1e-6)


def test_what_pads_a_part_is_not_seen(model):
    _, apply = model
    text = pad_text([texts(0), texts(1)], LENGTHS)
    clean = apply(text)
    noise = np.random.default_rng(0).normal(size=text.tokens.shape).astype(np.float32)
    # Beside the narrower encoder's features, and where no token is.
    tokens = np.where(text.mask[..., None], text.tokens, noise)
    tokens[:, LENGTHS[0] :, PARTS[1][1] :] = noise[:, LENGTHS[0] :, PARTS[1][1] :]
    np.testing.assert_allclose(apply(Text(tokens, text.mask)), clean, atol=1e-5)


def test_texts_of_all_lengths_end_with_their_padding(model):
    """As fused attention asks; here, against attention over the real tokens alone."""
    short, long = texts(3, (1, 1)), texts(4, (6, 3))
    both = velocity(model, short, long)
    np.testing.assert_allclose(both[0], velocity(model, short, short)[0], atol=1e-5)
    np.testing.assert_allclose(both[1], velocity(model, long, long)[1], atol=1e-5)


def test_the_padding_stands_at_the_end_of_what_the_trunk_gets():
    class Noted(nn.Module):
        """A trunk that answers with the mask that it is given."""

        width: int = 16

        @nn.compact
        def __call__(self, tokens, positions, t, text, text_mask):
            self.sow("intermediates", "mask", text_mask)
            return tokens

    module = VideoModel(Noted(), 3, motion=False, text_parts=PARTS)
    text = pad_text([texts(0, (2, 1)), texts(1, (6, 2))], LENGTHS)

    @jax.jit
    def noted(text):
        _, state = module.init_with_output(
            jax.random.key(0), jnp.zeros(LATENT), None, jnp.zeros(2), text, mutable=True
        )
        return state["intermediates"]["trunk"]["mask"][0]

    seen = np.asarray(noted(text))
    lengths = seen.sum(1)
    np.testing.assert_array_equal(lengths, [3, 8])
    np.testing.assert_array_equal(seen, np.arange(9) < lengths[:, None])
