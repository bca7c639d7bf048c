import jax
import numpy as np
import pytest

from videojam_jax.errors import UserError
from videojam_jax.parallel.batch import local_rows, to_global
from videojam_jax.parallel.mesh import AXES, make_mesh, mesh_shape


@pytest.mark.parametrize(
    ("sizes", "devices", "shape"),
    [
        ({"data": -1}, 1, (1, 1, 1, 1)),
        ({"data": -1}, 8, (8, 1, 1, 1)),
        ({"data": 2, "fsdp": -1, "tensor": 2}, 8, (2, 2, 1, 2)),
        ({"data": 1, "fsdp": 2, "context": 2, "tensor": 2}, 8, (1, 2, 2, 2)),
    ],
)
def test_one_axis_may_take_all_that_is_left(sizes, devices, shape):
    assert mesh_shape(sizes, devices) == shape


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"data": 3}, "makes 3 devices, but there are 8"),
        ({"data": -1, "fsdp": 3}, "make 3, which does not divide 8"),
        ({"data": -1, "fsdp": -1}, "at most one axis may be -1"),
    ],
)
def test_a_mesh_that_does_not_fit_says_which_numbers(sizes, message):
    with pytest.raises(UserError, match=message):
        mesh_shape(sizes, 8)


def test_a_mesh_has_every_axis():
    assert make_mesh({"data": -1, "fsdp": 2}).axis_names == AXES


def test_a_global_batch_holds_the_rows_in_order():
    mesh = make_mesh({"data": 2, "fsdp": 2, "tensor": -1})
    assert local_rows(mesh, 8) == (0, 8)
    rows = np.arange(24, dtype=np.float32).reshape(8, 3)
    batch = to_global(mesh, {"video": rows}, 8)["video"]
    assert batch.sharding.shard_shape(batch.shape) == (2, 3)
    np.testing.assert_array_equal(jax.device_get(batch), rows)


def test_a_batch_that_does_not_divide_names_the_next_that_does():
    mesh = make_mesh({"data": 4, "fsdp": 2})
    with pytest.raises(UserError, match="batch_size = 10 .* 8 devices .* is 16"):
        local_rows(mesh, 10)
