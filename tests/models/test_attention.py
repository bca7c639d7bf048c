import jax
import numpy as np
import pytest

from videojam_jax.models.attention import attention


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_the_softmax_of_scaled_products(masked):
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, n, 3, 8)).astype(np.float32) for n in (4, 6, 6))
    mask = np.arange(6) < np.array([[6], [2]]) if masked else None
    score = np.einsum("bnkh,bmkh->bknm", q, k) / np.sqrt(8)
    if masked:
        score = np.where(mask[:, None, None], score, -np.inf)
    weight = np.exp(score - score.max(-1, keepdims=True))
    weight /= weight.sum(-1, keepdims=True)
    want = np.einsum("bknm,bmkh->bnkh", weight, v)
    got = jax.jit(lambda q, k, v, mask: attention(q, k, v, key_mask=mask))(q, k, v, mask)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
