"""What `plan` reads in compiled programs, and what the training step sends between devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_plan
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from videojam_jax.parallel import rules
from videojam_jax.plan.collectives import collectives

MESH = {"data": 1, "fsdp": 4, "context": 2, "tensor": 1}


def auto_mesh(axes):
    types = (AxisType.Auto,) * len(axes)
    return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=types)


def compiled(function, shapes, specs, out, axes=MESH):
    """The text of a small program for 8 CPU devices, by the shardings of its arguments."""
    mesh = auto_mesh(axes)
    given = [
        jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, spec))
        for shape, spec in zip(shapes, specs, strict=True)
    ]
    jitted = jax.jit(function, out_shardings=NamedSharding(mesh, out))
    return jitted.lower(*given).compile().as_text()


def test_a_gather_is_found_with_its_axes_and_bytes():
    text = compiled(lambda params: params + 1, [(64, 16)], [P(("fsdp",))], P())
    (one,) = collectives(text, MESH)
    assert (one.kind, one.axes, one.group, one.times) == ("all-gather", ("fsdp",), 4, 1)
    assert one.shape.bytes == 64 * 16 * 4
    assert one.sent == one.shape.bytes * 3 / 4
    assert one.carries == "weights"


def test_what_depends_on_the_batch_is_no_weight_whatever_its_shape():
    text = compiled(
        lambda params, batch: params * batch, [(64, 16)] * 2, [P("fsdp"), P("fsdp")], P()
    )
    assert {one.carries for one in collectives(text, MESH)} == {"activations"}


def test_a_collective_in_a_scan_counts_as_often_as_the_scan_runs():
    def function(params, batch):
        def layer(x, w):
            return jnp.tanh(x @ w), None

        return jax.lax.scan(layer, batch, params)[0]

    text = compiled(
        function, [(7, 16, 16), (8, 16)], [P(None, "fsdp"), P(("fsdp", "context"))],
        P(("fsdp", "context")),
    )  # fmt: skip
    gathers = [one for one in collectives(text, MESH) if one.kind == "all-gather"]
    assert gathers and {(one.carries, one.times) for one in gathers} <= {
        ("weights", 7), ("weights", 1)
    }  # fmt: skip
    # Gathered in the loop, or all layers once before it: the same bytes.
    assert sum(one.shape.bytes * one.times for one in gathers) == 7 * 16 * 16 * 4


@pytest.mark.parametrize(
    ("written", "axes", "group"),
    [
        ("replica_groups=[4,2]<=[8]", ("context",), 2),
        ("replica_groups=[2,4]<=[4,2]T(1,0)", ("fsdp",), 4),
        ("replica_groups={{0,2,4,6},{1,3,5,7}}", ("fsdp",), 4),
        ("replica_groups={{0,1},{2,3},{4,5},{6,7}}", ("context",), 2),
        ("replica_groups={}", ("fsdp", "context"), 8),
        ("replica_groups=mesh['axis_0'=4,'axis_1'=1,'axis_2'=2] {'axis_0'}", ("fsdp",), 4),
        ("replica_groups=mesh['axis_0'=4,'axis_1'=2] {'axis_1'}", ("context",), 2),
        ("replica_groups=mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'a'}", ("context",), 2),
        ("replica_groups=mesh['a'=8] {'a':(1)4}", ("fsdp",), 4),
        ("replica_groups=mesh['a'=8] {'a':(4)2}", ("context",), 2),
    ],
)
def test_groups_are_read_in_every_way_they_are_written(written, axes, group):
    text = f"""HloModule jit_step

ENTRY %main (p: f32[2,4]) -> f32[8,4] {{
  %p = f32[2,4]{{1,0}} parameter(0), metadata={{op_name="state.params['w']"}}
  ROOT %all-gather = f32[8,4]{{1,0}} all-gather(%p), channel_id=1, {written}, dimensions={{0}}
}}
"""
    (one,) = collectives(text, MESH)
    assert (one.axes, one.group) == (axes, group)


# As the TPU's compiler wrote it for a v5e (shortened: attributes that are not read).
PIECES = """HloModule jit_step, is_scheduled=true

%start (param_0.1: bf16[96,3072]) -> (bf16[96,3072], bf16[3072,3072]) {
  %param_0.1 = bf16[96,3072]{1,0:T(8,128)(2,1)} parameter(0)
  %all-gather.1 = bf16[3072,3072]{1,0:T(8,128)(2,1)} all-gather(%param_0.1), channel_id=257, replica_groups=mesh['axis_0'=32,'axis_1'=1,'axis_2'=2] {'axis_0'}, dimensions={0}, use_global_device_ids=true, frontend_attributes={chain_id="21"}, metadata={op_name="jit(step)/jvp(VideoModel)/trunk/while/body/closed_call/blocks/ffn/gate/dot_general" stack_frame_id=432}, backend_config={"async_collective_fusion_config":{"flag_start":"-1","flag_end":"-1"}}
  ROOT %custom-call.1 = (bf16[96,3072]{1,0:T(8,128)(2,1)}, bf16[3072,3072]{1,0:T(8,128)(2,1)}) custom-call(%all-gather.1), custom_call_target="AsyncCollectiveStart"
}

%async_collective_fusion.1 (param_0.2: bf16[96,3072], param_1.2: bf16[8,8]) -> (bf16[8,8], bf16[3072,3072]) {
  %param_0.2 = bf16[96,3072]{1,0:T(8,128)(2,1)} parameter(0)
  %param_1.2 = bf16[8,8]{1,0:T(8,128)(2,1)} parameter(1)
  %all-gather.2 = bf16[3072,3072]{1,0:T(8,128)(2,1)S(1)} all-gather(%param_0.2), channel_id=257, replica_groups=mesh['axis_0'=32,'axis_1'=1,'axis_2'=2] {'axis_0'}, dimensions={0}, use_global_device_ids=true, frontend_attributes={chain_id="21"}, backend_config={"async_collective_fusion_config":{"flag_start":"2","flag_end":"8"}}
  ROOT %tuple.1 = (bf16[8,8]{1,0:T(8,128)(2,1)}, bf16[3072,3072]{1,0:T(8,128)(2,1)S(1)}) tuple(%param_1.2, %all-gather.2)
}

%all-reduce-scatter.6.clone.1 (input.23: bf16[3072,3072]) -> bf16[96,3072] {
  %input.23 = bf16[3072,3072]{1,0:T(8,128)(2,1)} parameter(0)
  %all-reduce.174 = bf16[3072,3072]{1,0:T(8,128)(2,1)} all-reduce(%input.23), channel_id=103, replica_groups={{0,2,4,6,8,10,12,14,16,18,20,22,24,26,28,30,32,34,36,38,40,42,44,46,48,50,52,54,56,58,60,62},{1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,33,35,37,39,41,43,45,47,49,51,53,55,57,59,61,63}}, use_global_device_ids=true, to_apply=%add.11.clone, metadata={op_name="jit(step)/transpose(jvp(VideoModel))/trunk/while/body/closed_call/checkpoint/blocks/ffn/gate/dot_general" stack_frame_id=4}
  %constant.4003 = u32[] constant(0)
  ROOT %dynamic-slice.1208 = bf16[96,3072]{1,0:T(8,128)(2,1)} dynamic-slice(%all-reduce.174, %constant.4003, %constant.4003), dynamic_slice_sizes={96,3072}
}

%body (wide.param.0: (s32[], bf16[96,3072], bf16[3072,3072])) -> (s32[], bf16[96,3072], bf16[3072,3072]) {
  %wide.param.0 = (s32[]{:T(128)}, bf16[96,3072]{1,0:T(8,128)(2,1)}, /*index=2*/bf16[3072,3072]{1,0:T(8,128)(2,1)}) parameter(0)
  %get-tuple-element.1 = s32[]{:T(128)} get-tuple-element(%wide.param.0), index=0
  %get-tuple-element.2 = bf16[96,3072]{1,0:T(8,128)(2,1)} get-tuple-element(%wide.param.0), index=1
  %get-tuple-element.3 = bf16[3072,3072]{1,0:T(8,128)(2,1)} get-tuple-element(%wide.param.0), index=2, frontend_attributes={kernel_metadata={
"xprof_metadata":"{\\"block_q\\": 512}"
}}
  %constant.9 = s32[]{:T(128)} constant(1)
  %add.9 = s32[]{:T(128)} add(%get-tuple-element.1, %constant.9)
  %add.10 = s32[]{:T(128)} add(%add.9, %constant.9)
  %fusion.1 = (bf16[96,3072]{1,0:T(8,128)(2,1)}, bf16[3072,3072]{1,0:T(8,128)(2,1)}) fusion(%get-tuple-element.2), kind=kCustom, calls=%start
  %constant.8 = bf16[8,8]{1,0:T(8,128)(2,1)} constant({...})
  %fusion.2 = (bf16[8,8]{1,0:T(8,128)(2,1)}, bf16[3072,3072]{1,0:T(8,128)(2,1)S(1)}) fusion(%get-tuple-element.2, %constant.8), kind=kOutput, calls=%async_collective_fusion.1
  %fusion.3 = bf16[96,3072]{1,0:T(8,128)(2,1)} fusion(%get-tuple-element.3), kind=kCustom, calls=%all-reduce-scatter.6.clone.1
  ROOT %tuple.2 = (s32[]{:T(128)}, bf16[96,3072]{1,0:T(8,128)(2,1)}, bf16[3072,3072]{1,0:T(8,128)(2,1)}) tuple(%add.10, %get-tuple-element.2, %get-tuple-element.3)
}

%condition (wide.param.1: (s32[], bf16[96,3072], bf16[3072,3072])) -> pred[] {
  %constant.1 = s32[]{:T(128)} constant(32)
  %wide.param.1 = (s32[]{:T(128)}, bf16[96,3072]{1,0:T(8,128)(2,1)}, bf16[3072,3072]{1,0:T(8,128)(2,1)}) parameter(0)
  %get-tuple-element.4 = s32[]{:T(128)} get-tuple-element(%wide.param.1), index=0
  ROOT %lt = pred[]{:T(512)} compare(%get-tuple-element.4, %constant.1), direction=LT
}

ENTRY %main (p0: bf16[96,3072], p1: bf16[3072,3072]) -> (s32[], bf16[96,3072], bf16[3072,3072]) {
  %p0 = bf16[96,3072]{1,0:T(8,128)(2,1)} parameter(0), metadata={op_name="state.params[\\'trunk\\'][\\'blocks\\'][\\'ffn\\']"}
  %p1 = bf16[3072,3072]{1,0:T(8,128)(2,1)} parameter(1), metadata={op_name="batch[\\'video\\']"}
  %constant.0 = s32[]{:T(128)} constant(0)
  %tuple.3 = (s32[]{:T(128)}, bf16[96,3072]{1,0:T(8,128)(2,1)}, bf16[3072,3072]{1,0:T(8,128)(2,1)}) tuple(%constant.0, %p0, %p1)
  ROOT %while.1 = (s32[]{:T(128)}, bf16[96,3072]{1,0:T(8,128)(2,1)}, bf16[3072,3072]{1,0:T(8,128)(2,1)}) while(%tuple.3), condition=%condition, body=%body
}
"""


def test_tpu_pieces_are_one_gather_and_its_fusion_is_a_scatter():
    mesh = {"data": 1, "fsdp": 32, "context": 2, "tensor": 1}
    found = {one.kind: one for one in collectives(PIECES, mesh)}
    assert set(found) == {"all-gather", "reduce-scatter"}
    gather, scatter = found["all-gather"], found["reduce-scatter"]
    assert (gather.carries, gather.axes, gather.times) == ("weights", ("fsdp",), 16)
    assert (scatter.carries, scatter.axes, scatter.times) == ("gradients", ("fsdp",), 16)
    assert scatter.done_as == "reduce-scatter"
    assert scatter.shape.bytes == 2 * 3072 * 3072


# Between two slices, as the TPU's compiler wrote it (shortened).
SLICES = """HloModule jit_step, is_scheduled=true

ENTRY %main (p0: bf16[576,1024], p1: bf16[576,1024]) -> bf16[1152,1024] {
  %p0 = bf16[576,1024]{1,0} parameter(0), metadata={op_name="state.params[\\'w\\']"}
  %p1 = bf16[576,1024]{1,0} parameter(1), metadata={op_name="batch[\\'video\\']"}
  %multiply = bf16[576,1024]{1,0} multiply(%p0, %p1), metadata={op_name="jit(step)/transpose(jvp(VideoModel))/dot_general"}
  %after-all.1 = token[] after-all()
  %recv.1 = (bf16[576,1024]{1,0}, u32[], token[]) recv(%after-all.1), channel_id=5, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",_xla_host_transfer_rendezvous="all-reduce.143_0",_xla_megascale_target="{1,2}x{0:31}"}
  %send.1 = (bf16[576,1024]{1,0}, u32[], token[]) send(%multiply, %after-all.1), channel_id=4, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",_xla_host_transfer_rendezvous="all-reduce.143_0",_xla_megascale_reduce_operation="SUM",_xla_megascale_target="{1,2}x{0:31}",_xla_megascale_transfer_type="ALL_REDUCE"}
  %recv-done.1 = (bf16[576,1024]{1,0}, token[]) recv-done(%recv.1), channel_id=5, is_host_transfer=true
  %get-tuple-element.1 = bf16[576,1024]{1,0} get-tuple-element(%recv-done.1), index=0
  ROOT %all-gather.1 = bf16[1152,1024]{1,0} all-gather(%get-tuple-element.1), channel_id=9, replica_groups=[4,2]<=[8], dimensions={0}
}
"""


def test_what_is_sent_to_another_slice_is_found_and_what_comes_back_is_no_constant():
    to_slices, gather = collectives(SLICES, MESH)
    assert (to_slices.kind, to_slices.axes, to_slices.group) == ("all-reduce", ("slices",), 2)
    assert to_slices.carries == "gradients"
    assert to_slices.sent == 2 * 576 * 1024
    assert gather.carries != "constants"


# Two shards laid into zeros and added up; a sum of which, copied, each device takes its slice.
SUMS = """HloModule jit_step

ENTRY %main (p0: f32[2,4], p1: f32[8,4]) -> (f32[8,4], f32[2,4]) {
  %p0 = f32[2,4]{1,0} parameter(0), metadata={op_name="state.params[\\'w\\']"}
  %p1 = f32[8,4]{1,0} parameter(1), metadata={op_name="batch[\\'video\\']"}
  %id.1 = u32[] partition-id()
  %constant.1 = f32[] constant(0)
  %broadcast.1 = f32[8,4]{1,0} broadcast(%constant.1), dimensions={}
  %dynamic-update-slice.1 = f32[8,4]{1,0} dynamic-update-slice(%broadcast.1, %p0, %id.1, %id.1)
  %all-reduce.1 = f32[8,4]{1,0} all-reduce(%dynamic-update-slice.1), replica_groups=[2,4]<=[4,2]T(1,0), to_apply=%add
  %all-reduce.2 = f32[8,4]{1,0} all-reduce(%p1), replica_groups=[2,4]<=[4,2]T(1,0), to_apply=%add
  %copy-start.1 = (f32[8,4]{1,0}, f32[8,4]{1,0}, u32[]) copy-start(%all-reduce.2)
  %copy-done.1 = f32[8,4]{1,0} copy-done(%copy-start.1)
  %dynamic-slice.1 = f32[2,4]{1,0} dynamic-slice(%copy-done.1, %id.1, %id.1), dynamic_slice_sizes={2,4}
  ROOT %tuple.1 = (f32[8,4]{1,0}, f32[2,4]{1,0}) tuple(%all-reduce.1, %dynamic-slice.1)
}
"""


def test_sums_that_gather_and_scatter_are_told_from_what_is_around_them():
    gather, scatter = collectives(SUMS, MESH)
    assert (gather.kind, gather.done_as, gather.carries) == ("all-gather", "all-reduce", "weights")
    assert (scatter.kind, scatter.done_as) == ("reduce-scatter", "all-reduce")
    whole = SUMS.replace("tuple(%all-reduce.1", "tuple(%all-reduce.2")
    assert [one.kind for one in collectives(whole, MESH)] == ["all-gather", "all-reduce"]


def test_a_permutation_along_an_axis_is_found():
    mesh = auto_mesh({"fsdp": 4, "context": 2})

    def shift(batch):
        return jax.lax.ppermute(batch, "fsdp", [(k, (k + 1) % 4) for k in range(4)])

    function = jax.jit(
        jax.shard_map(shift, mesh=mesh, in_specs=P("fsdp"), out_specs=P("fsdp"))
    )
    text = function.lower(jnp.zeros((8, 3))).compile().as_text()
    (one,) = collectives(text, {"fsdp": 4, "context": 2})
    assert (one.kind, one.axes, one.sent) == ("collective-permute", ("fsdp",), 2 * 3 * 4)


# --- The guard: what the real training step sends under fsdp.

# Bytes of one clip's tokens on a device: below are vectors of a clip (its time), above are
# the blocks' activations and weights.
LARGE = small_plan.TOKENS * 256 * 2


@pytest.fixture(scope="module")
def sharded_step():
    """The collectives of the small model's training step on fsdp=8."""
    return small_plan.step_collectives(fsdp=8)


def test_fsdp_gathers_weights_and_no_activations(sharded_step):
    gathers = [one for one in sharded_step if one.kind == "all-gather"]
    weights = [one for one in gathers if one.carries == "weights"]
    others = [one for one in gathers if one.carries != "weights" and one.shape.bytes >= LARGE]
    assert not others, [(str(one.shape), one.op_name) for one in others]
    gathered = {one.shape.elements for one in weights}
    missing = [
        name for name, shape in small_plan.block_matrices().items() if np.prod(shape) not in gathered
    ]
    assert not missing


def test_fsdp_scatters_the_sums_of_gradients(sharded_step):
    sums = [one for one in sharded_step if one.kind in ("reduce-scatter", "all-reduce")]
    # More than what is read by all, the sum over clips of the positions' gradients.
    large = [one for one in sums if one.shape.elements > small_plan.TOKENS * 256]
    assert large
    wrong = [one for one in large if (one.kind, one.carries) != ("reduce-scatter", "gradients")]
    assert not wrong, [(one.kind, one.carries, str(one.shape), one.op_name) for one in wrong]


def test_fsdp_moves_no_activations_in_any_other_way(sharded_step):
    other = [
        one
        for one in sharded_step
        if one.kind in ("all-to-all", "collective-permute") and one.shape.bytes >= LARGE
    ]
    assert not other, [(one.kind, str(one.shape), one.op_name) for one in other]


def test_the_guard_sees_activations_that_are_gathered(monkeypatch):
    monkeypatch.setitem(rules.RULES, "batch", "data")
    monkeypatch.setitem(rules.RULES, "features", "fsdp")
    found = small_plan.step_collectives(fsdp=8)
    gathers = [one for one in found if one.kind == "all-gather" and one.shape.bytes >= LARGE]
    assert "activations" in {one.carries for one in gathers}
