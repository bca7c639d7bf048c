"""RAFT: optical flow by repeated look-ups in correlations of two frames' features.

Teed and Deng 2020 (arXiv:2003.12039), "large" (5.26 M parameters) and "small" (0.99 M).
Behaviour and weights are those of princeton-vl/RAFT (`core/{raft,extractor,update}.py`)
and of torchvision `models/optical_flow/raft.py`; the sizes are in `SIZES`. The refinement stands
in one file, as there; encoders and correlations have their own.
"""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from videojam_jax.errors import UserError
from videojam_jax.models.raft_correlation import CORRELATIONS
from videojam_jax.models.raft_encoder import Encoder, conv

UPDATES = 12  # of a flow, unless told
DOWN = 8  # features and the flow that is refined have an eighth of the frame's size


@dataclasses.dataclass(frozen=True)
class Size:
    """The widths of one RAFT.

    Attributes:
      bottleneck: residual blocks of 1 x 1, 3 x 3, 1 x 1 at a quarter of the width, instead
        of two 3 x 3.
      encoder: channels of the first convolution and of the three pairs of blocks.
      features: channels of what is correlated.
      hidden, context: what the context encoder's channels are divided into.
      context_norm: "batch" or "none" (the feature encoder has instance norm in both).
      radius: of the looked-up windows.
      correlation, flow: the motion encoder's convolutions of either.
      motion: channels of the motion encoder's result, the flow's own two among them.
      gru: kernels of the recurrent unit's successive passes.
      flow_head: its hidden channels.
      convex: whether the flow is enlarged by learned weights, or bilinearly.
    """

    bottleneck: bool
    encoder: tuple[int, int, int, int]
    features: int
    hidden: int
    context: int
    context_norm: str
    radius: int
    correlation: tuple[int, ...]
    flow: tuple[int, int]
    motion: int
    gru: tuple[tuple[int, int], ...]
    flow_head: int
    convex: bool
    levels: int = 4


SIZES = {
    "large": Size(
        bottleneck=False,
        encoder=(64, 64, 96, 128),
        features=256,
        hidden=128,
        context=128,
        context_norm="batch",
        radius=4,
        correlation=(256, 192),
        flow=(128, 64),
        motion=128,
        gru=((1, 5), (5, 1)),
        flow_head=256,
        convex=True,
    ),
    "small": Size(
        bottleneck=True,
        encoder=(32, 32, 64, 96),
        features=128,
        hidden=96,
        context=64,
        context_norm="none",
        radius=3,
        correlation=(96,),
        flow=(64, 32),
        motion=82,
        gru=((3, 3),),
        flow_head=128,
        convex=False,
    ),
}


class Motion(nn.Module):
    """The correlations at the present flow, and the flow itself, as features."""

    size: Size
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, correlation: Float[Array, "b h w k"], flow: Float[Array, "b h w 2"]
    ) -> Float[Array, "b h w c"]:
        size, y = self.size, correlation
        for i, (features, kernel) in enumerate(zip(size.correlation, (1, 3)), 1):
            y = nn.relu(conv(features, (kernel, kernel), self.dtype, name=f"correlation{i}")(y))
        # In float32: a bfloat16 flow of 20 has steps of an eighth.
        z = nn.relu(conv(size.flow[0], (7, 7), jnp.float32, name="flow1")(flow))
        z = nn.relu(conv(size.flow[1], (3, 3), self.dtype, name="flow2")(z))
        y = jnp.concatenate([y, z], -1)
        y = nn.relu(conv(size.motion - 2, (3, 3), self.dtype, name="out")(y))
        return jnp.concatenate([y, flow.astype(y.dtype)], -1)


class Gate(nn.Module):
    """A convolution of the channels of `[state, context, motion]`, in two parts.

    The context is the same in every update, so its part of the sum is computed once
    (`constant`). That leaves out a third of the recurrent unit's work (a quarter, small).
    """

    features: int
    channels: tuple[int, int, int]
    kernel_size: tuple[int, int]
    dtype: DTypeLike

    def setup(self):
        shape = (*self.kernel_size, sum(self.channels), self.features)
        self.kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        self.bias = self.param("bias", nn.initializers.zeros, (self.features,))

    def constant(self, context: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        start = self.channels[0]
        kernel = self.kernel[:, :, start : start + self.channels[1]]
        return self._convolve(context, kernel) + self.bias

    def __call__(
        self,
        state: Float[Array, "b h w d"],
        motion: Float[Array, "b h w m"],
        constant: Float[Array, "b h w d"],
    ) -> Float[Array, "b h w d"]:
        state_kernel, _, motion_kernel = jnp.split(
            self.kernel, (self.channels[0], self.channels[0] + self.channels[1]), 2
        )
        x = jnp.concatenate([state.astype(self.dtype), motion.astype(self.dtype)], -1)
        kernel = jnp.concatenate([state_kernel, motion_kernel], 2)
        return self._convolve(x, kernel) + constant

    def _convolve(self, x, kernel):
        y = lax.conv_general_dilated(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            window_strides=(1, 1),
            padding=[(size // 2, size // 2) for size in self.kernel_size],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y.astype(jnp.float32)


class GRU(nn.Module):
    """A gated recurrent unit whose three products are convolutions; its state is float32."""

    channels: tuple[int, int, int]
    kernel_size: tuple[int, int]
    dtype: DTypeLike

    def setup(self):
        def gate():
            return Gate(self.channels[0], self.channels, self.kernel_size, self.dtype)

        self.z, self.r, self.q = gate(), gate(), gate()

    def constant(self, context: Float[Array, "b h w c"]) -> tuple[Float[Array, "b h w d"], ...]:
        """What the context adds to each of the three, whatever the state."""
        return tuple(gate.constant(context) for gate in (self.z, self.r, self.q))

    def __call__(
        self,
        hidden: Float[Array, "b h w d"],
        motion: Float[Array, "b h w m"],
        constant: tuple[Float[Array, "b h w d"], ...],
    ) -> Float[Array, "b h w d"]:
        z, r, q = constant
        update = nn.sigmoid(self.z(hidden, motion, z))
        reset = nn.sigmoid(self.r(hidden, motion, r))
        return (1 - update) * hidden + update * jnp.tanh(self.q(reset * hidden, motion, q))


class Update(nn.Module):
    """One refinement: what the correlations say changes the state, and the state the flow."""

    size: Size
    dtype: DTypeLike

    def setup(self):
        size = self.size
        self.motion = Motion(size, self.dtype)
        channels = (size.hidden, size.context, size.motion)
        self.gru = [GRU(channels, kernel, self.dtype) for kernel in size.gru]
        self.flow_head1 = conv(size.flow_head, (3, 3), self.dtype)
        self.flow_head2 = conv(2, (3, 3), jnp.float32)

    def constants(self, context: Float[Array, "b h w c"]) -> list:
        """What the context adds in every update, for `__call__`."""
        return [gru.constant(context) for gru in self.gru]

    def __call__(
        self,
        hidden: Float[Array, "b h w d"],
        constants: list,
        correlation: Float[Array, "b h w k"],
        flow: Float[Array, "b h w 2"],
    ) -> tuple[Float[Array, "b h w d"], Float[Array, "b h w 2"]]:
        motion = self.motion(correlation, flow)
        for gru, constant in zip(self.gru, constants, strict=True):
            hidden = gru(hidden, motion, constant)
        change = self.flow_head2(nn.relu(self.flow_head1(hidden)))
        return hidden, change


class ConvexWeights(nn.Module):
    """The state to the logits of the nine neighbours' weights in each of 8 x 8 pixels."""

    dtype: DTypeLike

    @nn.compact
    def __call__(self, hidden: Float[Array, "b h w d"]) -> Float[Array, "b h w k"]:
        y = nn.relu(conv(256, (3, 3), self.dtype, name="conv1")(hidden))
        # The factor kept the gradients of this branch small in training.
        return 0.25 * conv(9 * DOWN**2, (1, 1), self.dtype, name="conv2")(y).astype(jnp.float32)


def convex_upsample(
    flow: Float[Array, "b h w 2"], logits: Float[Array, "b h w k"]
) -> Float[Array, "b h2 w2 2"]:
    """Eight times the size: each pixel is a weighted mean of the 3 x 3 flows around it.

    Weights are the softmax over the neighbours; beyond the border the flow is zero.
    Section 3.3 of the paper. The result is in pixels of the larger picture.
    """
    height, width = flow.shape[1:3]
    padded = jnp.pad(DOWN * flow, ((0, 0), (1, 1), (1, 1), (0, 0)))
    around = jnp.stack(
        [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)], 3
    )
    logits = rearrange(logits, "b h w (k p q) -> b h w k p q", k=9, p=DOWN)
    weights = nn.softmax(logits, axis=3)
    large = jnp.einsum(
        "bhwkpq,bhwkc->bhwpqc", weights, around, precision=lax.Precision.HIGHEST
    )
    return rearrange(large, "b h w p q c -> b (h p) (w q) c")


def bilinear_upsample(flow: Float[Array, "b h w 2"]) -> Float[Array, "b h2 w2 2"]:
    """Eight times the size, corner on corner; in pixels of the larger picture."""

    def matrix(size):
        ends = jnp.arange(DOWN * size) * ((size - 1) / (DOWN * size - 1))
        return nn.relu(1 - jnp.abs(ends[:, None] - jnp.arange(size)))

    exact = lax.Precision.HIGHEST
    large = jnp.einsum("bhwc,Hh->bHwc", DOWN * flow, matrix(flow.shape[1]), precision=exact)
    return jnp.einsum("bhwc,Ww->bhWc", large, matrix(flow.shape[2]), precision=exact)


class RAFT(nn.Module):
    """Optical flow from a first to a second frame.

    Attributes:
      size: "large" or "small".
      correlation: "all_pairs" keeps the correlations of all pixels (156 MB a pair at
        480 x 832, growing with the square of the frame's area, and a third more for the
        pyramid), "on_demand" computes them anew in every update, a row at a time.
      dtype: of the convolutions; the norms' statistics, correlations, coordinates, the
        recurrent state and the flow are float32 in any case. With random weights, bfloat16
        moved the flow by half a percent of its length (large) and by 2 to 4 (small).

    Raises:
      UserError: for an unknown size or correlation, or for frames whose sides are no
        multiples of 8.
    """

    size: str = "large"
    correlation: str = "all_pairs"
    dtype: DTypeLike = jnp.float32

    def setup(self):
        if self.size not in SIZES:
            raise UserError(f"RAFT's size {self.size!r} is unknown: use one of {[*SIZES]}")
        if self.correlation not in CORRELATIONS:
            raise UserError(
                f"RAFT's correlation {self.correlation!r} is unknown: use one of "
                f"{[*CORRELATIONS]}"
            )
        size = SIZES[self.size]
        self.feature_encoder = Encoder(
            size.encoder, size.features, size.bottleneck, "instance", self.dtype
        )
        self.context_encoder = Encoder(
            size.encoder, size.hidden + size.context, size.bottleneck, size.context_norm, self.dtype
        )
        self.update = Update(size, self.dtype)
        if size.convex:
            self.convex_weights = ConvexWeights(self.dtype)

    def __call__(
        self,
        first: Float[Array, "b h w 3"],
        second: Float[Array, "b h w 3"],
        *,
        updates: int = UPDATES,
        iterates: bool = False,
    ) -> Float[Array, "*k b h w 2"]:
        """The flow of every pixel of `first` to where it is in `second`.

        Args:
          first, second: pixels in [-1, 1]; height and width multiples of 8.
          updates: how often the flow is refined.
          iterates: answer with the flow after every update, `[updates, b, h, w, 2]`.

        Returns:
          float32 `(u, v)` in pixels, x to the right, y down.
        """
        features = self.features(jnp.concatenate([first, second]))
        one, two = jnp.split(features, 2)
        return self.refine(one, two, self.context(first), updates=updates, iterates=iterates)

    def features(self, frames: Float[Array, "b h w 3"]) -> Float[Array, "b h8 w8 c"]:
        """What is correlated: one map a frame, whichever side of a pair the frame is on."""
        _check_sides(frames)
        return self.feature_encoder(frames)

    def context(self, frames: Float[Array, "b h w 3"]) -> Float[Array, "b h8 w8 c"]:
        """What the refinement knows of the first frame: its initial state and its input."""
        _check_sides(frames)
        return self.context_encoder(frames)

    def refine(
        self,
        first: Float[Array, "b h w c"],
        second: Float[Array, "b h w c"],
        context: Float[Array, "b h w d"],
        *,
        updates: int = UPDATES,
        iterates: bool = False,
    ) -> Float[Array, "*k b h8 w8 2"]:
        """The flow from the `features` of two frames and the `context` of the first one.

        Arguments and result otherwise as of `__call__`.
        """
        size = SIZES[self.size]
        lookup = CORRELATIONS[self.correlation](first, second, size.levels, size.radius)
        hidden, context = jnp.split(context, [size.hidden], -1)
        hidden = jnp.tanh(hidden.astype(jnp.float32))
        constants = self.update.constants(nn.relu(context))
        b, height, width = first.shape[:3]
        y, x = jnp.meshgrid(
            jnp.arange(height, dtype=jnp.float32),
            jnp.arange(width, dtype=jnp.float32),
            indexing="ij",
        )
        pixels = jnp.stack([x, y], -1)

        def step(update, carry, _):
            hidden, flow = carry
            flow = lax.stop_gradient(flow)  # each update learns from its own change alone
            hidden, change = update(hidden, constants, lookup(pixels + flow), flow)
            carry = hidden, flow + change
            return carry, carry if iterates else None

        scan = nn.scan(
            step, variable_broadcast="params", split_rngs={"params": False}, length=updates
        )
        start = hidden, jnp.zeros((b, height, width, 2), jnp.float32)
        last, every = scan(self.update, start, None)
        if not iterates:
            return self.enlarge(*last)
        hidden, flow = (rearrange(part, "k b ... -> (k b) ...") for part in every)
        return rearrange(self.enlarge(hidden, flow), "(k b) ... -> k b ...", b=b)

    def enlarge(
        self, hidden: Float[Array, "b h w d"], flow: Float[Array, "b h w 2"]
    ) -> Float[Array, "b h8 w8 2"]:
        """The refined flow at the frames' own size."""
        if SIZES[self.size].convex:
            return convex_upsample(flow, self.convex_weights(hidden))
        return bilinear_upsample(flow)


def _check_sides(frames: Float[Array, "b h w 3"]) -> None:
    height, width = frames.shape[1:3]
    if height % DOWN or width % DOWN:
        raise UserError(
            f"RAFT takes frames whose height and width are multiples of {DOWN}, "
            f"not {height} x {width}: pad them (motion.raft does)"
        )
