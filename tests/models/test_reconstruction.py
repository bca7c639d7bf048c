import dataclasses

import jax
import numpy as np
import pytest

from videojam_jax.errors import UserError
from videojam_jax.models.autoencoders import reconstruction
from videojam_jax.models.autoencoders.discriminator import (
    PatchDiscriminator,
    discriminator_loss,
    generator_loss,
)
from videojam_jax.models.autoencoders.reconstruction import (
    ReconstructionOptions,
    adversarial_weight,
    merge,
)

# One program each, and a shape: op by op they compile a dozen.
gradient_loss = jax.jit(reconstruction.gradient_loss, static_argnums=1)
kl_divergence = jax.jit(reconstruction.kl_divergence)
moments = jax.jit(reconstruction.moments)
outlier_penalty = jax.jit(reconstruction.outlier_penalty)
psnr = jax.jit(reconstruction.psnr)
reconstruction_loss = jax.jit(reconstruction.reconstruction_loss, static_argnums=4)
shift_and_scale = reconstruction.shift_and_scale

RNG = np.random.default_rng(0)


def array(x):
    return np.asarray(x, np.float32)


VIDEO = array(RNG.uniform(-1, 1, (2, 4, 16, 16, 3)))
MEAN, LOG_VARIANCE = array(RNG.normal(size=(2, 2, 2, 4, 4, 5)))


def test_kl_equals_the_formula():
    variance = np.exp(np.float64(LOG_VARIANCE))
    wanted = 0.5 * np.mean(np.float64(MEAN) ** 2 + variance - 1 - np.log(variance))
    np.testing.assert_allclose(kl_divergence(MEAN, LOG_VARIANCE), wanted, rtol=1e-6)
    assert kl_divergence(0 * MEAN, 0 * MEAN) == 0


def test_kl_equals_the_sampled_expectation_of_the_log_ratio():
    mean, std = 0.7, 0.4
    z = mean + std * RNG.normal(size=400_000)
    log_ratio = 0.5 * z**2 - 0.5 * ((z - mean) / std) ** 2 - np.log(std)
    got = kl_divergence(array(mean), array(2 * np.log(std)))
    np.testing.assert_allclose(got, log_ratio.mean(), atol=4 * log_ratio.std() / 400_000**0.5)


def test_the_outlier_penalty_equals_a_loop():
    latent = RNG.normal(size=(2, 3, 8, 8, 4))
    latent[0, 1, 2, 3] = 30  # a spot
    latent[1, 2, 7, 0, 1] = -25
    for r in (1.0, 3.0):
        total = 0.0
        for frame in latent.reshape(-1, 8, 8, 4):
            positions = frame.reshape(-1, 4)
            mean, std = positions.mean(0), positions.std(0)
            for x in positions:
                total += max(np.linalg.norm(x - mean) - r * np.linalg.norm(std), 0)
        got = outlier_penalty(array(latent), r)
        np.testing.assert_allclose(got, total / (2 * 3 * 8 * 8), rtol=1e-5)
    assert total > 0


def test_a_frame_without_outliers_is_not_penalised():
    assert outlier_penalty(array(RNG.uniform(size=(2, 3, 8, 8, 4))), 3.0) == 0


def test_equal_latents_have_a_finite_gradient():
    gradient = jax.jit(jax.grad(lambda latent: outlier_penalty(latent, 3.0)))
    np.testing.assert_array_equal(gradient(array(np.ones((1, 1, 4, 4, 2)))), 0)


def test_a_constant_offset_costs_l1_alone():
    _, parts = reconstruction_loss(VIDEO, VIDEO + 0.25, MEAN, LOG_VARIANCE, ReconstructionOptions())
    np.testing.assert_allclose(parts["l1"], 0.25, rtol=1e-5)
    np.testing.assert_allclose(parts["gradient"], 0, atol=1e-6)
    _, equal = reconstruction_loss(VIDEO, VIDEO, MEAN, LOG_VARIANCE, ReconstructionOptions())
    assert equal["l1"] == 0 and equal["gradient"] == 0
    assert parts["kl"] == equal["kl"] and parts["outlier"] == equal["outlier"]


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_ramp_costs_its_slope_at_every_scale(axis):
    ramp = 0.1 * np.arange(VIDEO.shape[axis]).reshape([-1 if i == axis else 1 for i in range(5)])
    error = array(np.broadcast_to(ramp, VIDEO.shape))
    # Rows and columns are twice as far apart at the next scale, frames are not.
    wanted = 0.1 if axis == 1 else np.mean([0.1, 0.2, 0.4])
    np.testing.assert_allclose(gradient_loss(error, 3), wanted, rtol=1e-5)


def test_coarser_scales_see_less_of_fine_noise():
    error = array(RNG.normal(size=VIDEO.shape))
    first, second, third = (float(gradient_loss(error, scales)) for scales in (1, 2, 3))
    assert first > second > third


def test_scales_end_with_the_pixels_and_an_image_has_no_frames_to_differ():
    error = array(RNG.normal(size=(1, 1, 5, 6, 3)))
    assert gradient_loss(error, 9) == gradient_loss(error, 2)
    wanted = np.abs(np.diff(error, axis=2)).mean() + np.abs(np.diff(error, axis=3)).mean()
    np.testing.assert_allclose(gradient_loss(error, 1), wanted, rtol=1e-5)


def test_the_loss_is_the_weighted_sum_of_its_parts():
    options = ReconstructionOptions(l1=2, l2=11, gradient=3, kl=5, outlier=7, outlier_r=1)
    loss, parts = reconstruction_loss(VIDEO, -VIDEO, MEAN, LOG_VARIANCE, options)
    assert set(parts) == {"l1", "l2", "gradient", "kl", "outlier"}
    np.testing.assert_allclose(parts["l2"], np.mean(4 * np.square(VIDEO)), rtol=1e-5)
    assert all(part > 0 for part in parts.values())
    wanted = sum(getattr(options, name) * float(part) for name, part in parts.items())
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)


def test_psnr_of_known_errors():
    half = np.zeros_like(VIDEO)
    decoded = half + np.array([0.02, 0.2], np.float32).reshape(2, 1, 1, 1, 1)
    np.testing.assert_allclose(psnr(half, decoded), [40, 20], atol=1e-3)
    np.testing.assert_allclose(psnr(half + 1, half - 1), [0, 0], atol=1e-5)
    np.testing.assert_allclose(psnr(half + 1, half + 5), [106.02, 106.02], atol=0.01)  # clipped


@pytest.mark.parametrize("field", ["l1", "kl", "gradient_scales", "adversarial_start"])
def test_a_weight_below_its_least_is_named(field):
    with pytest.raises(UserError, match=f"config.reconstruction.{field} = -1.* at least [01]"):
        dataclasses.replace(ReconstructionOptions(), **{field: -1})


def test_the_adversarial_weight_is_constant_from_its_start_on():
    options = ReconstructionOptions(adversarial=0.5, adversarial_start=10)
    weight = jax.jit(lambda step: adversarial_weight(step, options))
    assert [float(weight(step)) for step in (0, 9, 10, 11, 1000)] == [0, 0, 0.5, 0.5, 0.5]


def test_hinge_losses_have_their_closed_forms():
    real, fake = array([2.0, 0.5, -1.0]), array([-2.0, 0.5, 1.0])
    got = jax.jit(lambda real, fake: (discriminator_loss(real, fake), generator_loss(fake)))
    np.testing.assert_allclose(
        got(real, fake), [((0.5 + 2) + (1.5 + 2)) / 6, 0.5 / 3], rtol=1e-6
    )


def test_the_discriminator_judges_patches_of_frames_and_sees_their_neighbours():
    net = PatchDiscriminator(width=4, levels=2)
    video = array(RNG.normal(size=(1, 6, 8, 8, 3)))
    params = jax.jit(net.init)(jax.random.key(0, impl="rbg"), video)
    judge = jax.jit(net.apply)
    logits = np.asarray(judge(params, video))
    assert logits.shape == (1, 6, 2, 2)
    other = np.concatenate([-video[:, :1], video[:, 1:]], axis=1)
    changed = np.abs(np.asarray(judge(params, other)) - logits).max(axis=(0, 2, 3))
    # Two temporal convolutions of three frames reach two frames far.
    assert (changed[:3] > 1e-3).all() and (changed[3:] == 0).all(), changed


def test_moments_of_parts_are_numpy_s_of_all():
    # A mean far from 0: plain sums of squares in float32 would lose the spread.
    shift, spread = np.array([0, 3, -1000.0]), np.array([1, 0.01, 0.5])
    parts = [shift + spread * RNG.normal(size=(n, 2, 4, 4, 3)) for n in (1, 5, 2)]
    merged = jax.jit(merge)
    measured = moments(parts[0].astype(np.float32))
    for part in parts[1:]:
        measured = merged(measured, moments(part.astype(np.float32)))
    rows = np.concatenate([part.astype(np.float32) for part in parts]).reshape(-1, 3)
    rows = rows.astype(np.float64)
    got_shift, got_scale = shift_and_scale(measured)
    assert measured.count == len(rows)
    np.testing.assert_allclose(got_shift, rows.mean(0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got_scale, 1 / rows.std(0), rtol=1e-4)


def test_a_channel_without_spread_keeps_a_finite_scale():
    _, scale = shift_and_scale(moments(np.ones((2, 4, 1), np.float32)))
    np.testing.assert_allclose(scale, 1e5, rtol=1e-5)


def test_moments_in_float64_stay_in_it():
    one = jax.tree.map(np.float64, jax.device_get(moments(array(np.arange(6).reshape(3, 2)))))
    assert all(np.asarray(x).dtype == np.float64 for x in merge(one, one))
    assert isinstance(one, reconstruction.Moments)
