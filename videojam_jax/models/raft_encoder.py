"""RAFT's encoders: frames to maps of an eighth of their size.

The behaviour is that of princeton-vl/RAFT `core/extractor.py` (BasicEncoder, SmallEncoder)
and of torchvision `models/optical_flow/raft.py` (FeatureEncoder).
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

_HE = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def conv(
    features: int,
    kernel: tuple[int, int],
    dtype: DTypeLike,
    stride: int = 1,
    init=nn.initializers.lecun_normal(),
    name: str | None = None,
) -> nn.Conv:
    """A convolution padded alike on both sides, also where it strides (as torch pads)."""
    return nn.Conv(
        features,
        kernel,
        strides=stride,
        padding=[(size // 2, size // 2) for size in kernel],
        dtype=dtype,
        kernel_init=init,
        name=name,
    )


class FrozenBatchNorm(nn.Module):
    """Batch norm with the statistics of training, which are parameters like the others."""

    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = self.param("mean", nn.initializers.zeros, shape)
        var = self.param("var", nn.initializers.ones, shape)
        y = (x.astype(jnp.float32) - mean) * lax.rsqrt(var + self.eps)
        return (y * scale + bias).astype(x.dtype)


def normalise(kind: str, x: Float[Array, "b h w c"], name: str) -> Float[Array, "b h w c"]:
    """The norm of an encoder, within a compact method: "instance", "batch" or "none"."""
    if kind == "batch":
        return FrozenBatchNorm(name=name)(x)
    if kind == "instance":
        return nn.InstanceNorm(
            epsilon=1e-5,
            dtype=x.dtype,
            use_bias=False,
            use_scale=False,
            use_fast_variance=False,
            name=name,
        )(x)
    return x


class Block(nn.Module):
    """A residual block; ReLU after each norm and after the sum."""

    features: int
    stride: int
    bottleneck: bool
    norm: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        narrow = self.features // 4
        layers = (
            [(narrow, 1, 1), (narrow, 3, self.stride), (self.features, 1, 1)]
            if self.bottleneck
            else [(self.features, 3, self.stride), (self.features, 3, 1)]
        )
        y = x
        for i, (features, kernel, stride) in enumerate(layers, 1):
            y = conv(features, (kernel, kernel), self.dtype, stride, _HE, f"conv{i}")(y)
            y = nn.relu(normalise(self.norm, y, f"norm{i}"))
        if self.stride != 1:
            x = conv(self.features, (1, 1), self.dtype, self.stride, _HE, "downsample")(x)
            x = normalise(self.norm, x, "norm_downsample")
        return nn.relu(x + y)


class Encoder(nn.Module):
    """Frames to maps of an eighth of their size."""

    widths: tuple[int, int, int, int]
    features: int
    bottleneck: bool
    norm: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> Float[Array, "b h2 w2 c"]:
        x = conv(self.widths[0], (7, 7), self.dtype, 2, _HE, "conv_in")(x)
        x = nn.relu(normalise(self.norm, x, "norm_in"))
        for i, (width, stride) in enumerate(zip(self.widths[1:], (1, 2, 2), strict=True), 1):
            for j, step in enumerate((stride, 1)):
                name = f"layer{i}_{j}"
                x = Block(width, step, self.bottleneck, self.norm, self.dtype, name=name)(x)
        return conv(self.features, (1, 1), self.dtype, 1, _HE, "conv_out")(x)
