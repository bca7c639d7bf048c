"""What every test runs under: eight CPU devices, a compilation cache, checked shapes.

The environment variables are set here, before anything imports jax, and with
`setdefault`, so that `JAX_PLATFORMS=cuda pytest -m gpu` means what it says. Child
processes inherit them.
"""

import gc
import importlib.metadata
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Pictures are drawn to memory, on machines without a screen as well.
os.environ.setdefault("MPLBACKEND", "Agg")

# What a test waits for is the compiler, not the program: a cheap one, and eight devices. A
# process that a test starts inherits it; `XLA_FLAGS=` of the caller's own goes before.
FLAGS = {
    "--xla_force_host_platform_device_count": "8",
    "--xla_backend_optimization_level": "0",
    "--xla_llvm_disable_expensive_passes": "true",
    "--xla_cpu_parallel_codegen_split_count": "1",  # the other cores have tests of their own
}
# Halves what is left; later versions know no other way than the emitters'.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    FLAGS["--xla_cpu_use_fusion_emitters"] = "false"

_given = os.environ.get("XLA_FLAGS", "")
os.environ["XLA_FLAGS"] = " ".join(
    [*(f"{flag}={value}" for flag, value in FLAGS.items() if flag not in _given), _given]
).strip()

# A second run of the tests compiles nothing; only what takes a moment is kept.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax_tests"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

from jaxtyping import install_import_hook  # noqa: E402

# From here on every call of an annotated function in these packages checks its
# shapes and dtypes. Outside the tests the annotations cost nothing. What counts are
# the arrays: a scalar may be Python's or NumPy's.
CHECKED = ("diffusion", "motion", "models", "parallel", "data", "sample", "train",
           "measure", "report", "vote", "experiments")  # fmt: skip
NUMBERS = "{int: beartype.typing.SupportsIndex, float: beartype.typing.SupportsFloat}"
CONF = f"beartype.BeartypeConf(hint_overrides=beartype.FrozenDict({NUMBERS}))"
install_import_hook(
    [f"videojam_jax.{package}" for package in CHECKED], f"beartype.beartype(conf={CONF})"
)

import flax.core  # noqa: E402
import numpy as np  # noqa: E402

# Whenever a module is applied, flax traces each parameter's initialiser once more to see whether
# the shape is still right: nearly half of the time that tracing takes. Initialisers are given
# the shape, so it is seen without.
_param = flax.core.Scope.param


def _param_of_its_shape(self, name, init_fn, *init_args, unbox=True, **init_kwargs):
    if not init_args or not self.has_variable("params", name):
        return _param(self, name, init_fn, *init_args, unbox=unbox, **init_kwargs)
    self.reserve(name, "params")
    value = self.get_variable("params", name)
    plain = flax.core.meta.unbox(value)
    if np.shape(plain) != tuple(init_args[0]):
        raise flax.errors.ScopeParamShapeError(
            name, self.path_text, np.shape(plain), init_args[0]
        )
    return plain if unbox else value


flax.core.Scope.param = _param_of_its_shape

from hypothesis import settings  # noqa: E402

# The first example of a property compiles; a deadline would measure the compiler.
settings.register_profile("default", deadline=None)
settings.load_profile("default")

# Workers take file by file: what takes longest comes first, so that none is left with it alone.
FIRST = (
    "parallel/test_meshes_agree",
    "train/test_processes",
    "experiments/",
    "test_kept",
    "train/test_resume",
    "test_jobs",
    "sample/test_generate",
    "plan/test_plan",
    "config/test_frozen",
    "models/test_tae",
    "train/",
    "plan/",
)


def pytest_collection_modifyitems(items):
    def place(item):
        return next((i for i, name in enumerate(FIRST) if name in item.nodeid), len(FIRST))

    items.sort(key=place)


def pytest_collection_finish():
    # What is imported by now stays: not to look through it for garbage again and again, while
    # programs are traced, is a seventh of the time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
