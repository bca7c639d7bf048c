"""The data sheets beside those that JAX has for its kernels."""

import pytest
from jax.experimental.pallas import tpu as pltpu

from videojam_jax.plan.chips import SHEETS
from videojam_jax.train.throughput import PEAK_FLOPS

VERSIONS = {
    "TPU v4": pltpu.ChipVersion.TPU_V4,
    "TPU v5 lite": pltpu.ChipVersion.TPU_V5E,
    "TPU v5": pltpu.ChipVersion.TPU_V5P,
    "TPU v6 lite": pltpu.ChipVersion.TPU_V6E,
    "TPU7x": pltpu.ChipVersion.TPU_7X,
}


@pytest.mark.parametrize("kind", SHEETS)
def test_jax_has_the_same_of_a_chip(kind):
    version = VERSIONS[kind]
    core = pltpu.get_tpu_info_for_chip(version, 1)
    cores = version.num_physical_tensor_cores_per_chip
    # JAX rounds to two or three digits.
    assert PEAK_FLOPS[kind] == pytest.approx(core.bf16_ops_per_second * cores, rel=0.01)
    assert SHEETS[kind].memory == pytest.approx(core.hbm_capacity_bytes * cores, rel=0.01)
    if kind != "TPU v5":  # see `chips.py`
        bandwidth = core.mem_bw_bytes_per_second * cores
        assert SHEETS[kind].memory_bandwidth == pytest.approx(bandwidth, rel=0.03)
