"""FLOPs that are counted in a traced program."""

import functools

import jax
import jax.numpy as jnp
import pytest
import small_plan
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from videojam_jax.config import modelling
from videojam_jax.plan import closed_form, flops, parameters
from videojam_jax.plan.plan import arguments, training_state
from videojam_jax.train.program import jitted_step
from videojam_jax.train.throughput import step_flops

ONE = 2 * 8 * 16 * 32  # of the product below


def product(x, w):
    return x @ w


def count(function, *shapes):
    return flops.total(flops.products(function, *map(jnp.zeros, shapes)))


def test_a_product_is_a_multiply_and_an_add_for_each_pair():
    assert count(product, (8, 16), (16, 32)) == ONE
    assert count(lambda x, w: jnp.einsum("bij,bjk->bik", x, w), (5, 8, 16), (5, 16, 32)) == 5 * ONE


def test_a_convolution_counts_its_window_and_channels():
    def conv(x, w):
        return jax.lax.conv_general_dilated(x, w, (1, 1), "VALID")

    assert count(conv, (1, 3, 10, 10), (4, 3, 3, 3)) == 2 * 4 * 8 * 8 * 3 * 9


def test_what_is_inside_other_functions_counts():
    assert count(jax.jit(product), (8, 16), (16, 32)) == ONE
    assert count(jax.checkpoint(product), (8, 16), (16, 32)) == ONE
    assert count(jax.vmap(product, (0, None)), (3, 8, 16), (16, 32)) == 3 * ONE

    def scanned(x, w):
        return jax.lax.scan(lambda c, _: (c, product(x, w)), 0, length=7)[1]

    assert count(scanned, (8, 16), (16, 32)) == 7 * ONE


def test_of_two_branches_the_dearer_counts():
    def either(x, w):
        return jax.lax.cond(x.sum() > 0, lambda: product(x, w), lambda: jnp.zeros((8, 32)))

    assert count(either, (8, 16), (16, 32)) == ONE


def test_every_device_of_a_shard_map_counts():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    divided = jax.shard_map(
        product, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data")
    )
    assert count(jax.jit(divided), (8, 16), (16, 32)) == ONE
    everywhere = jax.shard_map(product, mesh=mesh, in_specs=(P(), P()), out_specs=P())
    assert count(jax.jit(everywhere), (8, 16), (16, 32)) == 4 * ONE


def test_a_gradient_is_two_more_products_and_remat_one_more_again():
    def layer(x, w):
        return jnp.tanh(product(x, w))

    def gradient(function):
        return jax.grad(lambda x, w: jnp.sum(function(x, w) ** 2), (0, 1))

    assert count(gradient(layer), (8, 16), (16, 32)) == 3 * ONE
    assert count(gradient(jax.checkpoint(layer)), (8, 16), (16, 32)) == 4 * ONE


@functools.cache  # a trace of the whole step
def products_of(config):
    mesh = modelling.mesh(config, jax.devices()[:1])
    return flops.products(jitted_step(config, mesh), *arguments(config, mesh))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_training_step_has_the_flops_of_the_closed_form(accumulate):
    config = small_plan.config(model__remat="none", train__accumulate=accumulate)
    expected = step_flops(config)
    counted = flops.by_module(products_of(config), list(expected))
    assert {name: value for name, value in counted.items() if value} == expected


def test_full_remat_computes_the_forward_pass_of_the_blocks_once_more():
    config = small_plan.config(model__remat="full")
    expected = step_flops(config)
    blocks = sum(value for name, value in expected.items() if name.startswith("trunk/blocks"))
    again = flops.total(products_of(config)) - sum(expected.values())
    # The last products of a block are not needed again, their results being known.
    assert 0.75 * blocks / 3 < again <= blocks / 3


def test_splash_counts_the_tiles_of_its_kernel():
    config = small_plan.config(model__remat="none", model__attention="splash")
    plain = small_plan.config(model__remat="none")
    modules = list(step_flops(plain))
    counted, expected = (
        flops.by_module(products_of(one), modules)["trunk/blocks/self_attention"]
        for one in (config, plain)
    )
    trunk, tokens = plain.model.trunk, modelling.token_count(plain)
    layers = trunk.blocks * plain.train.batch_size
    # Of scores or values, tokens x tokens, three more: both backward kernels make the scores
    # again, and one the gradient of the probabilities; and a sum over each row of the output.
    one_product = 2 * tokens * tokens * trunk.width
    assert counted - expected == layers * (3 * one_product + 2 * tokens * trunk.width)


def test_parameters_are_those_of_the_closed_form():
    for changes in ({}, {"model__motion": False}, {"text__name": "bytes"}):
        if "text__name" in changes:
            config = bytes_text()
        else:
            config = small_plan.config(**changes)
        state = training_state(config, modelling.mesh(config, jax.devices()[:1]))
        counted = parameters.by_module(parameters.shapes(state.params))
        assert counted == closed_form.parameters(config)


def bytes_text():
    return small_plan.config(text={"name": "bytes", "width": 96, "blocks": 2, "heads": 4})
