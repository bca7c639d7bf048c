"""Weights for a frozen model: from a public file, from a checkpoint of ours, or random."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding
from jax.typing import DTypeLike

from videojam_jax.checkpoints.read import is_checkpoint, load_params, read_architecture
from videojam_jax.convert.kinds import KINDS, abstract, detect
from videojam_jax.convert.read import read
from videojam_jax.convert.tensors import open_tensors
from videojam_jax.errors import UserError

# What an architecture says of converted weights.
CONVERTED = "converted"
# What is not drawn among random weights, by its name.
STARTS = {"scale": 1.0, "gamma": 1.0, "var": 1.0, "bias": 0.0, "mean": 0.0}


@dataclasses.dataclass(frozen=True)
class Weights:
    """A module and its parameters.

    Attributes:
      options: what fixes the module, as its kind found it.
      folder: where the files that came with the weights lie (a tokenizer's).
    """

    module: nn.Module
    params: Any
    options: dict[str, Any]
    folder: Path


def load_weights(
    kind: str,
    path: str | Path,
    sharding: Sharding | Callable[[Any], Any],
    *,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
) -> Weights:
    """A model of a kind with the weights of `path`, read to the devices of `sharding`.

    Args:
      kind: a key of `KINDS`.
      path: a public file or folder, or what `videojam convert` made of one.
      sharding: of every array; or a function from the abstract parameters, in flax's boxes of
        logical names, to the sharding of each.
      dtype: of the computation.
      param_dtype: of the matrices; vectors stay float32.

    Raises:
      UserError: nothing to read there, or weights of another kind or shape.
    """
    path = Path(path)
    row = KINDS[kind]
    tensors = None
    if is_checkpoint(path):
        options = converted_options(path, kind)
    else:
        tensors = open_tensors(path)
        options = row.options(path, tensors)
    module = row.module(options, dtype)

    def laid_out(x, sharding) -> jax.ShapeDtypeStruct:
        kept = param_dtype if len(x.shape) > 1 else jnp.float32
        return jax.ShapeDtypeStruct(x.shape, kept, sharding=sharding)

    boxed = abstract(row, module)
    shapes = nn.unbox(boxed)
    given = sharding(boxed) if callable(sharding) else jax.tree.map(lambda x: sharding, shapes)
    wanted = jax.tree.map(laid_out, shapes, given)
    if tensors is None:
        params, _ = load_params(path, wanted)
    else:
        rows = row.rows(module, options)
        params = read(tensors, rows, wanted, ignored=row.ignored)
    folder = path if path.is_dir() else path.parent
    return Weights(module, params, options, folder)


def random_weights(
    kind: str, options: dict[str, Any], sharding: Sharding, *, dtype: DTypeLike = jnp.float32
) -> Weights:
    """The same with random weights, to try things and to measure them."""
    row = KINDS[kind]
    module = row.module(options, dtype)
    return Weights(module, drawn(nn.unbox(abstract(row, module)), sharding), options, Path())


def drawn(shapes: Any, sharding: Sharding) -> Any:
    """Random parameters of these shapes: norms start as they do, biases at 0, and a layer's
    results are about as large as what it is given.

    The host draws them: a compiled initialisation is a program of hundreds of generators,
    which takes longer to compile than the model itself.
    """
    rng = np.random.default_rng(0)

    def one(path, x):
        name = path[-1].key
        if name in STARTS:
            array = np.full(x.shape, STARTS[name], x.dtype)
        else:
            array = rng.standard_normal(x.shape, np.float32) / math.sqrt(math.prod(x.shape[:-1]))
        return jax.device_put(array.astype(x.dtype), sharding)

    return jax.tree_util.tree_map_with_path(one, shapes)


def kind_of(path: str | Path, wanted: tuple[str, ...]) -> str:
    """Which of some kinds the weights at `path` are of.

    Raises:
      UserError: nothing there, or of another kind.
    """
    path = Path(path)
    if is_checkpoint(path):
        about = (read_architecture(path) or {}).get(CONVERTED, {})
        found = about.get("kind", "a run of `videojam train`")
    else:
        found = detect(path, open_tensors(path))
    if found not in wanted:
        raise UserError(f"{path}: weights of {found}, where {' or '.join(wanted)} is wanted")
    return found


def converted_options(path: Path, kind: str) -> dict[str, Any]:
    """What fixes the module of converted weights; UserError where they are of another kind."""
    about = (read_architecture(path) or {}).get(CONVERTED)
    if about is None or about["kind"] != kind:
        there = f"weights of {about['kind']}" if about else "a run of `videojam train`"
        raise UserError(f"{path}: {there}, where weights of {kind} are wanted")
    return about["options"]
