"""Environment variables that JAX reads when it is imported, so nothing here imports it."""

import re
from collections.abc import Mapping

from videojam_jax.errors import UserError

# To have a TPU's compiler without a TPU: look for none, do not ask the cloud where this
# runs, and have names for what it would have answered (they are not used, but where they
# are missing libtpu prints warnings). It lets only one process at a time use a TPU; where
# none is used several may compile.
WITHOUT_TPU = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    # A program that was compiled without its device cannot be read back.
    "JAX_ENABLE_COMPILATION_CACHE": "false",
}


def environment(
    topology: str | None, platform: str | None, given: Mapping[str, str]
) -> dict[str, str]:
    """What to set before JAX is imported, for `topology.devices` of the same arguments.

    Args:
      given: the environment as it is.

    >>> environment(None, "cpu:8", {})
    {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': '--xla_force_host_platform_device_count=8'}
    """
    if topology is not None:
        return dict(WITHOUT_TPU)
    flag = f"--xla_force_host_platform_device_count={cpu_count(platform)}"
    return {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{given.get('XLA_FLAGS', '')} {flag}".strip()}


def cpu_count(platform: str | None) -> int:
    """The N of `cpu:N`; UserError for any other platform."""
    found = re.fullmatch(r"cpu:([1-9]\d*)", platform or "")
    if not found:
        raise UserError(f"--platform {platform}: cpu:N with the number of simulated devices, cpu:8")
    return int(found.group(1))
