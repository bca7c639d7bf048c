import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videojam_jax.errors import UserError
from videojam_jax.models.autoencoders.pixels import Pixels
from videojam_jax.models.autoencoders.precomputed import Precomputed


@settings(max_examples=8)  # every shape is compiled anew
@given(
    patch=st.tuples(*[st.integers(1, 4)] * 3),
    grid=st.tuples(*[st.integers(1, 3)] * 3),
    shift=st.floats(-1, 1),
    scale=st.floats(0.1, 10),
)
def test_decode_undoes_encode(patch, grid, shift, scale):
    autoencoder = Pixels(patch, shift, scale)
    shape = (2, *(n * p for n, p in zip(grid, patch, strict=True)), 3)
    video = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)

    @jax.jit
    def there_and_back(video):
        latent = autoencoder.encode(video)
        return latent, autoencoder.decode(latent)

    latent, back = there_and_back(video)
    assert latent.shape == autoencoder.latent_shape(shape) == (2, *grid, autoencoder.channels)
    np.testing.assert_allclose(back, video, atol=2e-6)


def test_a_clip_that_does_not_divide_is_named():
    with pytest.raises(UserError, match="7 frames of 8 x 8 .* multiples"):
        Pixels((2, 4, 4)).latent_shape((7, 8, 8, 3))


def test_precomputed_latents_have_the_paper_s_shape():
    latent = Precomputed((8, 8, 8), 16).latent_shape((1, 128, 256, 256, 3))
    assert latent == (1, 16, 32, 32, 16)


@pytest.mark.parametrize("job", ["encode", "decode"])
def test_precomputed_latents_cannot_be_made_or_shown(job):
    with pytest.raises(UserError, match="autoencoder"):
        getattr(Precomputed((8, 8, 8), 16), job)(None)
