"""From tensors by name to parameters: what is asked of a file, what is checked, what is told."""

import itertools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from videojam_jax.checkpoints.names import flat
from videojam_jax.convert.layout import CONV2D, LINEAR, Row
from videojam_jax.convert.read import as_found, dtype_in, public_tensors, read
from videojam_jax.convert.tensors import Tensors
from videojam_jax.errors import UserError


class Recorded:
    """A tensor that remembers what was asked of it."""

    def __init__(self, values):
        self.values = np.asarray(values)
        self.shape, self.dtype = self.values.shape, self.values.dtype
        self.asked = []

    def __getitem__(self, index):
        self.asked.append(index)
        return self.values[index]

    def sizes(self):
        """How many numbers each request was for."""
        return [self.values[index].size for index in self.asked]


def file(**tensors):
    return Tensors("there.safetensors", {name: Recorded(x) for name, x in tensors.items()})


def random(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def struct(*shape, dtype=np.float32, sharding=None):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)


def message(*arguments, **keywords):
    with pytest.raises(UserError) as caught:
        read(*arguments, **keywords)
    return str(caught.value)


# --- names, axes, stacks ---


def test_each_kind_of_axes_gives_the_array_that_flax_wants():
    linear, conv, bias = random(5, 3), random(6, 4, 3, 2), random(5)
    found = read(
        file(linear=linear, conv=conv, bias=bias, unused=bias),
        [Row("a/kernel", "linear", LINEAR), Row("b/kernel", "conv", CONV2D), Row("a/bias", "bias")],
        {"a": {"kernel": struct(3, 5), "bias": struct(5)}, "b": {"kernel": struct(3, 2, 4, 6)}},
        ignored=["unus.d"],
    )
    x, image = random(1, 3), random(1, 8, 8, 4)
    np.testing.assert_allclose(x @ found["a"]["kernel"], x @ linear.T, rtol=1e-6)
    # A kernel's place (i, j) from input channel p to output channel q.
    np.testing.assert_array_equal(found["b"]["kernel"][2, 1, 3, 5], conv[5, 3, 2, 1])
    y = jax.lax.conv_general_dilated(
        image, found["b"]["kernel"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    wanted = np.einsum("hwp,qphw->q", image[0, :3, :2], conv)
    np.testing.assert_allclose(y[0, 0, 0], wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found["a"]["bias"], bias)
    assert all(isinstance(x, np.ndarray) and x.flags.c_contiguous for x in flat(found).values())


@given(st.data())
def test_public_tensors_are_what_read_was_given(data):
    rows, tensors, wanted = [], {}, {}
    for number in range(data.draw(st.integers(1, 3))):
        shape = data.draw(st.lists(st.integers(1, 3), max_size=4))
        axes = data.draw(st.one_of(st.none(), st.permutations(range(len(shape)))))
        stack = data.draw(st.integers(0, 3))
        public = f"x{number}.{{}}" if stack else f"x{number}"
        rows.append(Row(f"tree/a{number}", public, axes and tuple(axes), stack=stack))
        ours = shape if axes is None else [shape[axis] for axis in axes]
        wanted[f"a{number}"] = struct(*([stack] if stack else []), *ours, dtype=np.float64)
        for layer in range(max(stack, 1)):
            tensors[public.format(layer)] = random(*shape, seed=layer, dtype=np.float64)
    back = public_tensors(read(file(**tensors), rows, {"tree": wanted}), rows)
    assert back.keys() == tensors.keys()
    for name, value in tensors.items():
        np.testing.assert_array_equal(back[name], value)


def test_a_tied_tensor_is_read_under_whichever_name_it_has():
    row = Row("table", "shared", also=("encoder.embed", "embed"))
    a, b = random(2, 3, seed=1), random(2, 3, seed=2)
    for tensors, wanted in (
        ({"embed": a}, a),
        ({"encoder.embed": a}, a),
        ({"encoder.embed": b, "shared": a, "embed": b}, a),  # the usual name comes first
    ):
        there = file(**tensors)
        np.testing.assert_array_equal(read(there, [row], {"table": struct(2, 3)})["table"], wanted)
        # What has another name goes out under it.
        assert set(public_tensors({"table": wanted}, as_found(there, [row]))) == {
            "shared" if "shared" in tensors else next(iter(tensors))
        }
    assert "1 missing: shared" in message(file(), [row], {"table": struct(2, 3)})


def test_a_stack_of_layers_may_have_its_other_names_too():
    row = Row("w", "encoder.{}.w", LINEAR, also=("{}.w",), stack=2)
    there = file(**{"0.w": random(2, 3, seed=0), "1.w": random(2, 3, seed=1)})
    found = read(there, [row], {"w": struct(2, 3, 2)})["w"]
    np.testing.assert_array_equal(found[1], there["1.w"].values.T)
    assert set(public_tensors({"w": found}, as_found(there, [row]))) == {"0.w", "1.w"}


# --- the check ---


def test_everything_that_does_not_fit_is_named_at_once_and_nothing_is_read():
    rows = [
        Row("a", "a", LINEAR),
        Row("b", "b"),
        Row("c", "c.{}.w", also=("old.{}.w",), stack=3),
        Row("d", "d", LINEAR),
        Row("e", "e"),
    ]
    there = file(**{
        "a": random(3, 2), "c.0.w": random(4), "old.1.w": random(5), "d": random(3),
        "e": random(2), "counter": random(1), "odd.one": random(1),
    })  # fmt: skip
    shapes = {"a": (3, 2), "b": (1,), "c": (3, 4), "d": (2, 2), "e": (2,)}
    wanted = {name: struct(*shape) for name, shape in shapes.items()}
    said = message(there, rows, wanted, ignored=["count.*", "odd"])
    assert said == (
        "there.safetensors does not fit the model; 2 missing: b, c.2.w; "
        "3 of another shape: a is [3, 2], the model wants [2, 3], "
        "old.1.w is [5], the model wants [4], d is [3], the model wants [2, 2]; "
        "1 unknown: odd.one"
    )
    assert not any(tensor.asked for tensor in there.values())


def test_more_layers_than_the_model_has_are_unknown():
    there = file(**{f"c.{layer}.w": random(4) for layer in range(3)})
    said = message(there, [Row("c", "c.{}.w", stack=2)], {"c": struct(2, 4)})
    assert said.endswith("1 unknown: c.2.w")


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [Row("a", "a"), Row("b", "a")],
        [Row("a", "a"), Row("a", "a")],
        [Row("a", "a", stack=3)],
    ],
)
def test_a_layout_that_is_not_the_model_s_is_a_fault_of_ours(rows):
    with pytest.raises(ValueError, match="not that of the model"):
        read(file(a=random(2)), rows, {"a": struct(2)})


# --- what is read where ---


def test_a_sharded_array_is_read_by_the_slices_that_its_devices_hold():
    mesh = Mesh(np.array(jax.devices()[:8]).reshape(4, 2), ("rows", "columns"))
    there = file(a=random(6, 8), b=random(8, 3, 2, 2), c=random(16))
    rows = [Row("a", "a", LINEAR), Row("b", "b", CONV2D), Row("c", "c")]

    def split(*spec):
        return NamedSharding(mesh, P(*spec))

    wanted = {
        "a": struct(8, 6, sharding=split("rows", "columns")),
        "b": struct(2, 2, 3, 8, sharding=split(None, None, None, ("rows", "columns"))),
        "c": struct(16, sharding=split(None)),
    }
    found = read(there, rows, wanted)
    for name, axes in (("a", LINEAR), ("b", CONV2D), ("c", (0,))):
        np.testing.assert_array_equal(found[name], there[name].values.transpose(axes))
        assert found[name].sharding == wanted[name].sharding
    assert there["a"].sizes() == [6 * 8 // 8] * 8  # each device its own part
    assert there["b"].sizes() == [8 * 3 * 2 * 2 // 8] * 8
    corners = {tuple((s.start, s.stop) for s in index) for index in there["a"].asked}
    assert corners == set(itertools.product([(0, 3), (3, 6)], [(0, 2), (2, 4), (4, 6), (6, 8)]))
    assert set(there["c"].sizes()) == {16}


def test_a_stack_that_is_sharded_over_layers_is_read_from_those_layers_alone():
    mesh = Mesh(np.array(jax.devices()[:4]).reshape(2, 2), ("stage", "width"))
    there = file(**{f"w.{layer}": random(4, 6, seed=layer) for layer in range(6)})
    wanted = struct(6, 6, 4, sharding=NamedSharding(mesh, P("stage", "width")))
    found = read(there, [Row("w", "w.{}", LINEAR, stack=6)], {"w": wanted})["w"]
    np.testing.assert_array_equal(found, np.stack([x.values.T for x in there.values()]))
    for shard in found.addressable_shards:
        assert shard.data.shape == (3, 3, 4)
    for tensor in there.values():  # two devices have this layer, half of it each
        assert tensor.sizes() == [12, 12]


def test_one_process_of_several_reads_its_devices_part(monkeypatch):
    # What make_array_from_callback does on a host that holds half of the devices.
    there = file(a=random(8, 6))
    sharding = NamedSharding(Mesh(np.array(jax.devices()[:8]), ("x",)), P("x"))

    def mine(shape, sharding, part):
        every = sharding.devices_indices_map(shape)
        return [part(every[device]) for device in jax.devices()[4:8]]

    monkeypatch.setattr(jax, "make_array_from_callback", mine)
    found = read(there, [Row("a", "a")], {"a": struct(8, 6, sharding=sharding)})["a"]
    np.testing.assert_array_equal(np.concatenate(found), there["a"].values[4:])
    assert sum(there["a"].sizes()) == 24


@pytest.mark.parametrize("stack", [0, 2])
def test_numbers_are_cast_slice_by_slice_to_the_dtype_that_is_wanted(stack):
    values = random(8, 4) * 1e3
    tensors = {"a.0": values, "a.1": values * 3} if stack else {"a": values}
    there = file(**tensors)
    spec = P(None, "x") if stack else P("x")
    sharding = NamedSharding(Mesh(np.array(jax.devices()[:4]), ("x",)), spec)
    shape = (2, 8, 4) if stack else (8, 4)
    row = Row("a", "a.{}" if stack else "a", stack=stack)
    for laid_out in (None, sharding, SingleDeviceSharding(jax.devices()[0])):
        wanted = struct(*shape, dtype=jnp.bfloat16, sharding=laid_out)
        found = read(there, [row], {"a": wanted})["a"]
        assert found.dtype == jnp.bfloat16
        whole = np.stack(list(tensors.values())) if stack else values
        np.testing.assert_array_equal(np.asarray(found), whole.astype(ml_dtypes.bfloat16))
    # All of it for the first and the last, a quarter at a time for the second.
    for tensor in there.values():
        assert tensor.sizes() == [32, *[8] * 4, 32]


def test_nothing_is_shared_with_the_file():
    there = file(a=random(4), b=random(2, 3))
    found = read(there, [Row("a", "a"), Row("b", "b", LINEAR)], {"a": struct(4), "b": struct(3, 2)})
    found["a"][:] = found["b"][:] = 0
    assert there["a"].values.all() and there["b"].values.all()


def test_of_layers_of_several_dtypes_the_one_that_holds_them_all_is_kept():
    half, single = random(2, dtype=ml_dtypes.bfloat16), random(2)
    there = file(**{"a.0": half, "a.1": single, "b": half, "c.0": half, "c.1": single.astype("f2")})
    for row, wanted in (
        (Row("a", "a.{}", stack=2), "float32"),
        (Row("b", "B", also=("b",)), "bfloat16"),
        (Row("c", "c.{}", stack=2), "float32"),
    ):
        assert dtype_in(there, row) == wanted
