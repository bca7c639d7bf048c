"""Meshes that are proposed."""

import math

import jax
import pytest
import small_plan

from videojam_jax.config import loading, modelling
from videojam_jax.parallel.batch import check_batch
from videojam_jax.plan import closed_form
from videojam_jax.plan.chips import SHEETS, Device
from videojam_jax.plan.memory import estimated_temporary, of_state
from videojam_jax.plan.plan import training_state
from videojam_jax.plan.propose import Proposal, change, meshes, next_to_try, proposals

V5E = Device("TPU v5 lite", 1, 197e12, SHEETS["TPU v5 lite"])


def test_every_mesh_is_valid_for_batch_heads_and_tokens():
    config = small_plan.config()
    found = list(meshes(config, 8, 1, 2))
    assert found
    for sizes in found:
        changed = change(config, {f"mesh.{axis}": size for axis, size in sizes.items()})
        check_batch(modelling.mesh(changed, jax.devices()[:8]), config.train.batch_size, 2)


def test_slices_are_told_apart_by_data_alone():
    assert all(sizes["data"] % 2 == 0 for sizes in meshes(small_plan.config(), 8, 2, 1))


@pytest.mark.parametrize(("name", "devices"), [("videojam_4b", 64), ("videojam_4b", 16)])
def test_what_is_proposed_for_a_large_model_should_fit(name, devices):
    config = loading.load(f"configs/{name}.py")
    count = sum(closed_form.parameters(config).values())
    best = proposals(config, devices, 1, V5E, count)[0]
    assert best.bytes < V5E.sheet.memory
    sizes = {key: value for key, value in best.overrides.items() if key.startswith("mesh.")}
    assert math.prod(sizes.values()) == devices
    assert config.train.batch_size % (sizes["mesh.data"] * sizes["mesh.fsdp"]) == 0


def test_where_nothing_fits_the_smallest_comes_first():
    config = loading.load("configs/videojam_30b.py")
    found = proposals(config, 4, 1, V5E, sum(closed_form.parameters(config).values()))
    assert found[0].bytes > V5E.sheet.memory
    assert found[0].bytes == min(one.bytes for one in found)


def test_after_a_try_that_was_too_large_a_smaller_one_is_next():
    left = [Proposal({"mesh.fsdp": i}, size, i) for i, size in enumerate((90.0, 50.0, 70.0, 20.0))]
    assert next_to_try(left, memory=200).bytes == 90
    assert next_to_try(left, memory=200 / 3).bytes == 50  # estimates were three times too small
    assert next_to_try(left, memory=1).bytes == 20  # none should fit


def test_the_state_is_counted_as_it_is_sharded():
    config = small_plan.config(mesh__fsdp=8)
    mesh = modelling.mesh(config, jax.devices()[:8])
    parts = of_state(training_state(config, mesh))
    whole = 4 * sum(closed_form.parameters(config).values())
    for part in ("parameters", "moving average", "optimizer: first moment"):
        assert whole / 8 <= parts[part] < 1.05 * whole / 8  # norms and biases stay whole
    half = change(config, {"optimizer.first_moment_dtype": "bfloat16"})
    assert of_state(training_state(half, mesh))["optimizer: first moment"] == (
        parts["optimizer: first moment"] / 2
    )


def test_keeping_less_for_the_backward_pass_is_estimated_smaller():
    sizes = {"data": 1, "fsdp": 8, "context": 1, "tensor": 1}

    def kept(remat):
        config = small_plan.config(model__remat=remat)
        return estimated_temporary(config, sizes, 1_000_000)["activations kept"]

    kinds = ("offload", "full", "attention", "dots", "none")
    assert [kept(kind) for kind in kinds] == sorted(kept(kind) for kind in kinds)
