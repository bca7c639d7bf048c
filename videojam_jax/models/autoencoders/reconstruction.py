"""What a temporal autoencoder is trained on, and how its latents are measured.

Movie Gen (arXiv 2410.13720, section 3.1.1): L1, a perceptual loss, KL, an adversarial loss
and the outlier penalty. In the place of the perceptual loss, which needs the weights of
another network, stands the L1 distance of differences between neighbouring pixels and
frames, at several scales.
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from videojam_jax.keys import check, config_key

# Below this a channel of latents counts as one that does not vary.
SMALLEST_STD = 1e-5


@dataclasses.dataclass(frozen=True)
class ReconstructionOptions:
    """How an autoencoder is trained, `config.reconstruction`.

    The losses are means, so their weights do not depend on a clip's size.

    Movie Gen's weight of the outlier penalty is 1e5, and it does not say how the losses beside
    it are normalised. If they are sums over a clip, as in the code of latent diffusion, then for
    one of 32 x 256 x 256 x 3 numbers 1e5 is 0.016 beside means: 0.01 here, as no more is known
    than its size. Beside means 1e5 would leave nothing of the others: one of the 4,096 positions
    of such a clip's latent that is too long by 1 would cost 24, and all of a reconstruction
    costs about 0.05.

    Raises:
      UserError: for a value out of its range.
    """

    l1: float = config_key(1.0, "weight of the mean absolute error", minimum=0.0)
    l2: float = config_key(
        0.0, "weight of the mean squared error, which short runs get further with", minimum=0.0
    )
    gradient: float = config_key(
        1.0, "weight of the error of finite differences, at several scales", minimum=0.0
    )
    gradient_scales: int = config_key(
        3, "each of half the resolution of the one before", minimum=1
    )
    kl: float = config_key(1e-6, "weight of the KL divergence from N(0, 1)", minimum=0.0)
    outlier: float = config_key(
        0.01,
        "weight of Movie Gen's outlier penalty; its 1e5 is taken to stand beside sums over a "
        "clip, here it stands beside means",
        minimum=0.0,
    )
    outlier_r: float = config_key(3.0, "standard deviations that are no outlier", minimum=0.0)
    adversarial: float = config_key(
        0.0, "weight of the discriminator's judgement; 0: none", minimum=0.0
    )
    adversarial_start: int = config_key(0, "steps before which it has no weight", minimum=0)
    discriminator_width: int = config_key(64, "of its first layer", minimum=1)
    flow_share: float = config_key(
        0.25, "share of a batch that is flow clips", minimum=0.0, maximum=1.0
    )
    image_share: float = config_key(
        0.25, "share of the steps that see first frames alone", minimum=0.0, maximum=1.0
    )
    held_out: int = config_key(
        16, "last clips of the source, kept from training and measured", minimum=1
    )
    latent_clips: int = config_key(
        256,
        "clips over which the latents' shift and scale are measured, at each checkpoint",
        minimum=1,
    )

    def __post_init__(self):
        check(self, "config.reconstruction")


def reconstruction_loss(
    video: Float[Array, "b t h w p"],
    decoded: Float[Array, "b t h w p"],
    mean: Float[Array, "b t2 h2 w2 c"],
    log_variance: Float[Array, "b t2 h2 w2 c"],
    options: ReconstructionOptions,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The weighted sum of all terms but the adversarial one, and each term unweighted."""
    error = decoded.astype(jnp.float32) - video.astype(jnp.float32)
    mean, log_variance = mean.astype(jnp.float32), log_variance.astype(jnp.float32)
    parts = {
        "l1": jnp.mean(jnp.abs(error)),
        "l2": jnp.mean(error**2),
        "gradient": gradient_loss(error, options.gradient_scales),
        "kl": kl_divergence(mean, log_variance),
        "outlier": outlier_penalty(mean, options.outlier_r),
    }
    return sum(getattr(options, name) * part for name, part in parts.items()), parts


def adversarial_weight(
    step: Int[Array, ""] | int, options: ReconstructionOptions
) -> Float[Array, ""]:
    """The weight of `discriminator.generator_loss` at `step`: 0, then constant."""
    return options.adversarial * jnp.asarray(step >= options.adversarial_start, jnp.float32)


def gradient_loss(error: Float[Array, "b t h w p"], scales: int) -> Float[Array, ""]:
    """L1 of the differences of neighbours in rows, columns and frames, summed over these.

    Differences are linear, so those of two clips differ as those of the clips' difference,
    `error`, do from zero. The mean over `scales` scales; from one to the next, blocks of
    2 x 2 pixels become their mean, while there are 4 x 4.
    """
    total = jnp.zeros(())
    count = 0
    while True:
        for axis in (1, 2, 3):
            if error.shape[axis] > 1:
                total = total + jnp.mean(jnp.abs(jnp.diff(error, axis=axis)))
        count += 1
        b, t, h, w, p = error.shape
        if count == scales or min(h, w) < 4:
            return total / count
        error = error[:, :, : h // 2 * 2, : w // 2 * 2]
        error = error.reshape(b, t, h // 2, 2, w // 2, 2, p).mean(axis=(3, 5))


def kl_divergence(
    mean: Float[Array, "..."], log_variance: Float[Array, "..."]
) -> Float[Array, ""]:
    """`(mean^2 + variance - 1 - log variance) / 2`: to N(0, 1), a latent element's mean."""
    return jnp.mean(mean**2 + jnp.exp(log_variance) - 1 - log_variance) / 2


def outlier_penalty(latent: Float[Array, "b t h w c"], r: float) -> Float[Array, ""]:
    """Movie Gen's outlier penalty: `mean_ij max(|X_ij - mean(X)| - r |std(X)|, 0)`.

    `X_ij` is the vector of one position, `mean` and `std` are those of each channel over
    the rows and columns of one frame ("T is rolled into the batch"), `|.|` is the length
    of a vector.
    """
    away = latent - latent.mean(axis=(2, 3), keepdims=True)
    squares = away**2
    length = _root(squares.sum(axis=-1))
    spread = _root(squares.mean(axis=(2, 3)).sum(axis=-1))
    return jnp.mean(jnp.maximum(length - r * spread[:, :, None, None], 0))


def _root(x: Array) -> Array:
    """A square root whose gradient at 0 is 0, not infinite: a black clip's latents are equal."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)


def psnr(
    video: Float[Array, "b t h w p"], decoded: Float[Array, "b t h w p"]
) -> Float[Array, " b"]:
    """`10 log10(4 / mean squared error)` of each clip, in dB; pixels in [-1, 1].

    What is decoded is clipped first. Equal clips have 106 dB, as if every pixel were off
    by 1e-5.
    """
    error = jnp.clip(decoded.astype(jnp.float32), -1, 1) - video.astype(jnp.float32)
    squares = jnp.mean(error**2, axis=(1, 2, 3, 4))
    return 10 * jnp.log10(4 / jnp.maximum(squares, 1e-10))


class Moments(NamedTuple):
    """Of the latents of a data set, each channel by itself: made by `moments`, joined by `merge`.

    `squares` are the summed squares of distances to the mean (Chan, Golub and LeVeque,
    1979): plain sums of squares lose a small spread around a large mean in float32.
    """

    count: Float[Array, ""]
    mean: Float[Array, " c"]
    squares: Float[Array, " c"]


def moments(latent: Float[Array, "... c"]) -> Moments:
    """Those of one batch, over every axis but the last, in float32."""
    flat = latent.astype(jnp.float32).reshape(-1, latent.shape[-1])
    mean = flat.mean(axis=0)
    count = jnp.asarray(flat.shape[0], jnp.float32)
    return Moments(count, mean, ((flat - mean) ** 2).sum(axis=0))


def merge(a: Moments, b: Moments) -> Moments:
    """Those of both together. Plain arithmetic: NumPy in float64 stays that."""
    count = a.count + b.count
    part = b.count / count
    apart = b.mean - a.mean
    mean = a.mean + part * apart
    return Moments(count, mean, a.squares + b.squares + apart**2 * a.count * part)


def shift_and_scale(measured: Moments) -> tuple[np.ndarray, np.ndarray]:
    """What brings each channel to mean 0 and variance 1: `(latent - shift) * scale`.

    A channel that hardly varies (below `SMALLEST_STD`) is not blown up further.
    """
    std = np.sqrt(measured.squares / measured.count)
    return np.asarray(measured.mean), 1 / np.maximum(std, SMALLEST_STD)
