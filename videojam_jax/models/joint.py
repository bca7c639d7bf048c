"""VideoJAM's two widened linear layers around any trunk (arXiv 2502.02492, section 4.1).

    u+([x_t, d_t], y, t) = M([x_t, d_t] W_in+, y, t) W_out+ = [u_x, u_d]

`M` is the trunk, untouched. A base model is the same code without the motion
half: `u(x_t, y, t) = M(x_t W_in, y, t) W_out`.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from videojam_jax.errors import UserError
from videojam_jax.models.layers import dense, logical
from videojam_jax.models.partition import constrain
from videojam_jax.text import Text


def patchify(
    latent: Float[Array | np.ndarray, "b t h w c"], patch: tuple[int, int, int]
) -> Float[Array | np.ndarray, "b n f"]:
    """Latent to one row of features a token; UserError if it does not divide."""
    p, q, r = patch
    _, t, h, w, _ = latent.shape
    if t % p or h % q or w % r:
        raise UserError(
            f"a latent of {t} x {h} x {w} does not divide into model.patch {patch}"
        )
    return rearrange(latent, "b (t p) (h q) (w r) c -> b (t h w) (p q r c)", p=p, q=q, r=r)


def unpatchify(
    tokens: Float[Array, "b n f"],
    patch: tuple[int, int, int],
    latent_shape: tuple[int, ...],
) -> Float[Array, "b t h w c"]:
    """The inverse of `patchify`."""
    p, q, r = patch
    _, t, h, w, _ = latent_shape
    return rearrange(
        tokens,
        "b (t h w) (p q r c) -> b (t p) (h q) (w r) c",
        t=t // p,
        h=h // q,
        w=w // r,
        p=p,
        q=q,
        r=r,
    )


def token_positions(
    latent_shape: tuple[int, ...], patch: tuple[int, int, int]
) -> np.ndarray:
    """Frame, row and column of every token, int32 `[n, 3]`, in `patchify`'s order."""
    _, t, h, w, _ = latent_shape
    grid = np.indices((t // patch[0], h // patch[1], w // patch[2]), dtype=np.int32)
    return grid.reshape(3, -1).T


class VideoModel(nn.Module):
    """Latents to velocities: patchify, `W_in`, trunk, `W_out`, unpatchify.

    Attributes:
      trunk: the transformer `M`.
      channels: of a latent.
      motion: False is the base model, True is VideoJAM.
      patch: latent positions `(t, h, w)` in one token.
      text_encoder: trained with the trunk (byte text), or None when the text
        comes as embeddings.
      text_parts: `(tokens, width)` of each part of the text, where it comes from several
        encoders: one after the other, zeros beside the narrower ones (Movie Gen, 3.1.3).
    """

    trunk: nn.Module
    channels: int
    motion: bool
    patch: tuple[int, int, int] = (1, 2, 2)
    text_encoder: nn.Module | None = None
    dtype: DTypeLike = jnp.float32
    text_parts: tuple[tuple[int, int], ...] = ()

    @nn.compact
    def __call__(
        self,
        x_t: Float[Array, "b t h w c"],
        d_t: Float[Array, "b t h w c"] | None,
        t: Float[Array, " b"],
        text: Text,
    ) -> tuple[Float[Array, "b t h w c"], Float[Array, "b t h w c"] | None]:
        """Returns `(u_x, u_d)` in float32; `d_t` and `u_d` are None for a base model."""
        if (d_t is not None) != self.motion:
            raise ValueError("a motion latent goes into a joint model, and only there")
        width = self.trunk.width
        features = self.channels * int(np.prod(self.patch))
        halves = 1 + self.motion

        # W_in+ is one matrix, multiplied half by half: `x W_x + d W_d` then has the
        # very same first term as the base, so a widened model equals its base to
        # the bit (one product over the double width would sum in another order).
        w_in = self.param(
            "w_in",
            logical(nn.initializers.lecun_normal(), None, "width"),
            (halves * features, width),
        ).astype(self.dtype)
        b_in = self.param("b_in", logical(nn.initializers.zeros, "norm"), (width,))
        tokens = patchify(x_t, self.patch).astype(self.dtype) @ w_in[:features]
        if self.motion:
            tokens = tokens + patchify(d_t, self.patch).astype(self.dtype) @ w_in[features:]
        tokens = constrain(tokens + b_in.astype(self.dtype), "batch", "tokens", "features")

        words, mask = text
        if self.text_encoder is not None:
            words = self.text_encoder(words, mask)
        if not self.text_parts:
            words = self._text_in(words, "")
        else:
            words, mask = self._joined(words, mask)
        words = constrain(words, "batch", None, "features")

        tokens = self.trunk(
            tokens, jnp.asarray(token_positions(x_t.shape, self.patch)), t, words, mask
        ).astype(self.dtype)

        w_out = self.param(
            "w_out", logical(nn.initializers.zeros, "width", None), (width, halves * features)
        ).astype(self.dtype)
        b_out = self.param("b_out", logical(nn.initializers.zeros, None), (halves * features,))

        def velocity(half: int):
            columns = slice(half * features, (half + 1) * features)
            # Sums are in float32 anyway: rounded to bfloat16, they would lose what they have.
            u = jnp.matmul(tokens, w_out[:, columns], preferred_element_type=jnp.float32)
            u = u + b_out[columns]
            u = constrain(u, "batch", "tokens", "features")
            return unpatchify(u, self.patch, x_t.shape)

        return velocity(0), velocity(1) if self.motion else None

    def _text_in(self, text: Float[Array, "b m e"], suffix: str) -> Float[Array, "b m d"]:
        """An encoder's embeddings to the trunk's width: Linear and LayerNorm."""
        text = dense(
            self.trunk.width, (None, "width"), self.dtype, f"text_in{suffix}", use_bias=True
        )(text.astype(self.dtype))
        return nn.LayerNorm(
            dtype=self.dtype,
            scale_init=logical(nn.initializers.ones, "norm"),
            bias_init=logical(nn.initializers.zeros, "norm"),
            name=f"text_norm{suffix}",
        )(text)

    def _joined(
        self, text: Float[Array, "b m e"], mask: Bool[Array, "b m"]
    ) -> tuple[Float[Array, "b m d"], Bool[Array, "b m"]]:
        """The parts of a text, each through its own Linear and LayerNorm, along the sequence."""
        starts = np.cumsum([0, *(tokens for tokens, _ in self.text_parts)])
        parts = [
            self._text_in(text[:, start : start + tokens, :features], f"_{i}")
            for i, (start, (tokens, features)) in enumerate(zip(starts, self.text_parts))
        ]
        # Fused attention wants what is padded at the end. The order says nothing to the
        # trunk, whose cross-attention has no positions of the text.
        order = jnp.argsort(~mask, axis=1, stable=True)
        joined = jnp.take_along_axis(jnp.concatenate(parts, axis=1), order[..., None], axis=1)
        return joined, jnp.take_along_axis(mask, order, axis=1)


def widen(base_params: dict) -> dict:
    """Parameters of a base model to those of the joint model that equals it.

    `W_in+` is the trained `W_in` with as many zero rows below it; `W_out+` (and
    its bias) is the trained `W_out` with as many zero columns beside it. So
    `u_x` is the base's velocity for any motion input, and `u_d` starts at zero.
    """

    def double(array, axis):
        return jnp.concatenate([array, jnp.zeros_like(array)], axis=axis)

    return {
        **base_params,
        "w_in": double(base_params["w_in"], 0),
        "w_out": double(base_params["w_out"], 1),
        "b_out": double(base_params["b_out"], 0),
    }
