"""Parts that several models share."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from videojam_jax.models.partition import constrain


def logical(initializer, *axes: str | None):
    """An initializer whose parameter carries logical axis names (see `parallel.rules`)."""
    return nn.with_logical_partitioning(initializer, axes)


def dense(
    features: int,
    axes: tuple[str | None, str | None],
    dtype: DTypeLike,
    name: str,
    use_bias: bool = False,
    kernel_init=nn.initializers.lecun_normal(),
) -> nn.Dense:
    """A linear layer `[..., a] -> [..., features]` with its kernel's two logical axes."""
    return nn.Dense(
        features,
        use_bias=use_bias,
        dtype=dtype,
        kernel_init=logical(kernel_init, *axes),
        bias_init=logical(nn.initializers.zeros, axes[1]),
        name=name,
    )


def rms_norm(x: Float[Array, "... d"], name: str, eps: float = 1e-6) -> Float[Array, "... d"]:
    """`x / sqrt(mean(x^2) + eps) * scale` over the last axis, in float32 inside."""
    scale = logical(nn.initializers.ones, "norm")
    return nn.RMSNorm(epsilon=eps, dtype=x.dtype, scale_init=scale, name=name)(x)


def modulate(
    x: Float[Array, "b n d"], shift: Float[Array, "b d"], scale: Float[Array, "b d"]
) -> Float[Array, "b n d"]:
    """adaLN: `x (1 + scale) + shift`, the time's say over every token."""
    return x * (1 + scale[:, None]) + shift[:, None]


class SwiGLU(nn.Module):
    """`W_down (silu(W_gate x) * W_up x)` (Llama 3's feed-forward)."""

    hidden: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        gate = dense(self.hidden, ("width", "mlp"), self.dtype, "gate")(x)
        up = dense(self.hidden, ("width", "mlp"), self.dtype, "up")(x)
        hidden = constrain(nn.silu(gate) * up, "batch", "tokens", "mlp_features")
        y = dense(x.shape[-1], ("mlp", "width"), self.dtype, "down")(hidden)
        return constrain(y, "batch", "tokens", "features")


def sinusoid(t: Float[Array, " b"], features: int) -> Float[Array, "b f"]:
    """Fourier features of the time: t in [0, 1] is stretched to [0, 1000] as is customary."""
    half = features // 2
    frequencies = jnp.exp(-math.log(10_000) * jnp.arange(half, dtype=jnp.float32) / half)
    angles = 1000.0 * t.astype(jnp.float32)[:, None] * frequencies
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


class TimeEmbedding(nn.Module):
    """Time to a vector of `width`: sinusoid, then Linear-SiLU-Linear."""

    width: int
    frequencies: int = 256
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, t: Float[Array, " b"]) -> Float[Array, "b d"]:
        x = sinusoid(t, self.frequencies).astype(self.dtype)
        x = dense(self.width, (None, "width"), self.dtype, "in", use_bias=True)(x)
        return dense(self.width, ("width", "width_out"), self.dtype, "out", use_bias=True)(
            nn.silu(x)
        )


def waves(axis: int, amplitude: float, axes: int = 3):
    """An initializer for the position table of one of several axes.

    Sines and cosines of wavelengths from 4 to 400 positions in this axis' own part of
    the width, zeros in the others': every axis can be read from the sum, and near
    positions are alike from the first step.
    """

    def init(key, shape, dtype=jnp.float32):
        del key
        size, width = shape
        part = width // axes
        half = part // 2
        rate = 2 * math.pi / 4 / 100 ** (jnp.arange(half) / max(half, 1))
        angle = jnp.arange(size)[:, None] * rate
        table = jnp.zeros(shape, dtype)
        start = axis * part
        table = table.at[:, start : start + half].set(amplitude * jnp.sin(angle))
        return table.at[:, start + half : start + 2 * half].set(amplitude * jnp.cos(angle))

    return init


class FactorisedPositions(nn.Module):
    """Learned embeddings of frame, row and column, added together (Movie Gen 3.1.2).

    Attributes:
      sizes: positions along `(t, h, w)` that have an embedding.
      amplitude: of the waves that it starts as.
    """

    sizes: tuple[int, int, int]
    width: int
    amplitude: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, positions: Int[Array, "n 3"]) -> Float[Array, "n d"]:
        total = 0
        for axis, (name, size) in enumerate(zip("thw", self.sizes, strict=True)):
            table = self.param(
                name, logical(waves(axis, self.amplitude), None, "width"), (size, self.width)
            )
            total = total + table[positions[:, axis]]
        return total.astype(self.dtype)
