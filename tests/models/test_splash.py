"""The TPU's kernel, run step by step on the CPU, against attention in NumPy."""

import jax
import numpy as np
import pytest

from videojam_jax.models.attention import OVER_HEADS, OVER_TOKENS, attention, for_platform
from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.parallel.rules import partitioned, replicated


def operands(n, m, heads=2, width=64, rows=2, seed=0):
    rng = np.random.default_rng(seed)
    q, weights = rng.normal(size=(2, rows, n, heads, width)).astype(np.float32)
    k, v = rng.normal(size=(2, rows, m, heads, width)).astype(np.float32)
    return q, k, v, weights


def by_splash(q, k, v, weights, mask, axes=OVER_HEADS, mesh=None):
    """The result, and the gradients by q, k and v of its sum with `weights`."""

    def loss(qkv, weights, mask):
        y = attention(
            *qkv, key_mask=mask, implementation="splash", axes=axes, blocks=(128, 128),
            interpret=True,
        )  # fmt: skip
        return (weights * y).sum(), y

    function, given = jax.grad(loss, has_aux=True), ((q, k, v), weights, mask)
    if mesh:
        function = partitioned(mesh, function)
        given = jax.device_put(given, replicated(mesh))
    gradients, y = jax.jit(function)(*given)
    return y, *gradients


def by_formula(q, k, v, weights, mask):
    """The same in float64 NumPy."""
    q, k, v, weights = (x.astype(np.float64).swapaxes(1, 2) for x in (q, k, v, weights))
    score = q @ k.swapaxes(2, 3) / np.sqrt(q.shape[-1])
    if mask is not None:
        score = np.where(mask[:, None, None], score, -np.inf)
    share = np.exp(score - score.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    d_share = weights @ v.swapaxes(2, 3)
    d_score = share * (d_share - (d_share * share).sum(-1, keepdims=True)) / np.sqrt(q.shape[-1])
    found = share @ v, d_score @ k, d_score.swapaxes(2, 3) @ q, share.swapaxes(2, 3) @ weights
    return [x.swapaxes(1, 2) for x in found]


def assert_all_close(got, wanted):
    for name, a, b in zip(("y", "dq", "dk", "dv"), got, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=2e-4, err_msg=name)


@pytest.mark.parametrize(
    ("n", "m", "lengths"),
    [
        (256, 256, None),
        (200, 200, None),  # neither fills whole blocks
        (96, 172, (172, 1)),  # padded text, of one of them a whole block
    ],
)
def test_splash_and_its_gradients_equal_the_formula_s(n, m, lengths):
    mask = None if lengths is None else np.arange(m) < np.array(lengths)[:, None]
    given = operands(n, m)
    assert_all_close(by_splash(*given, mask), by_formula(*given, mask))


# Three rows do not divide over two devices. Text fills whole blocks, and it does not.
@pytest.mark.parametrize(
    ("axes", "rows", "m"), [(OVER_HEADS, 2, 128), (OVER_HEADS, 3, 128), (OVER_TOKENS, 2, 44)]
)
def test_splash_on_a_mesh_equals_the_formula(axes, rows, m):
    mesh = make_mesh({"data": 2, "context": 2, "tensor": 2})
    mask = np.arange(m) < np.array([[m], [3], [9]])[:rows]
    given = operands(256 if axes is OVER_TOKENS else 128, m, heads=4, rows=rows)
    assert_all_close(by_splash(*given, mask, axes, mesh), by_formula(*given, mask))


def test_each_platform_gets_its_own_kernel():
    assert for_platform("tpu", "float32") == "splash"
    assert for_platform("gpu", "bfloat16") == "cudnn"
    assert for_platform("gpu", "float32") == "xla"  # the flash kernel takes half precision alone
    assert for_platform("cpu", "bfloat16") == "xla"
