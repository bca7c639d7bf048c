"""The models whose public weights are read: one row each."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from videojam_jax.convert.layout import Row
from videojam_jax.convert.layouts import clip, raft, t5, wan_vae
from videojam_jax.convert.tensors import Tensors
from videojam_jax.errors import UserError
from videojam_jax.models.autoencoders.wan_vae import WanAutoencoder
from videojam_jax.models.raft import RAFT
from videojam_jax.models.text.clip import ClipText
from videojam_jax.models.text.t5 import T5Encoder
from videojam_jax.randomness import key_for


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of model.

    Attributes:
      options: `options(path, tensors)`: what fixes the module and its names in this file, as
        JSON holds it. Raises UserError when it is another kind of file.
      module: `module(options, dtype)`.
      example: `example(module)`: inputs of the smallest size that it initialises with.
      rows: `rows(module, options)`: the layout.
      ignored: patterns of tensors that it has no use for.
    """

    options: Callable[[Path, Tensors], dict[str, Any]]
    module: Callable[[Mapping[str, Any], Any], nn.Module]
    example: Callable[[nn.Module], tuple]
    rows: Callable[[nn.Module, Mapping[str, Any]], list[Row]]
    ignored: Sequence[str] = ()


def config_of(path: Path) -> dict[str, Any] | None:
    """The config.json that lies with a file of weights, None where there is none."""
    file = (path if path.is_dir() else path.parent) / "config.json"
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{file}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise UserError(f"{file}: an object of keys is wanted")
    return found


def _named(
    path: Path, options: Callable[[Mapping], dict], without: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The options from config.json, or `without` one; errors then name the folder too."""
    config = config_of(path)
    if config is None and without is None:
        folder = path if path.is_dir() else path.parent
        raise UserError(f"{folder}: config.json is missing, which tells the model's sizes")
    try:
        return options(without if config is None else config)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _raft_options(path: Path, tensors: Tensors) -> dict[str, Any]:
    try:
        size, naming = raft.detect(tensors)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return {"size": size, "naming": naming}


def _tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    """JSON's lists as the tuples that a module's attributes are."""
    return {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}


def _tokens(module: nn.Module) -> tuple:
    return jnp.zeros((1, 2), jnp.int32), jnp.ones((1, 2), bool)


KINDS: dict[str, Kind] = {
    "raft": Kind(
        options=_raft_options,
        module=lambda options, dtype: RAFT(size=options["size"], dtype=dtype),
        example=lambda module: (jnp.zeros((1, 128, 128, 3)),) * 2,
        rows=lambda module, options: raft.rows(options["size"], options["naming"]),
        ignored=raft.IGNORED,
    ),
    "wan_vae": Kind(
        options=lambda path, tensors: _named(path, wan_vae.options, without={}),
        module=lambda options, dtype: WanAutoencoder(**_tuples(options), dtype=dtype),
        example=lambda module: (jnp.zeros((1, 5, 16, 16, 3)),),
        rows=lambda module, options: wan_vae.rows(module),
        ignored=wan_vae.IGNORED,
    ),
    "t5": Kind(
        options=lambda path, tensors: _named(path, t5.options),
        module=lambda options, dtype: T5Encoder(**options, dtype=dtype),
        example=_tokens,
        rows=lambda module, options: t5.rows(module),
        ignored=t5.IGNORED,
    ),
    "clip": Kind(
        options=lambda path, tensors: _named(path, clip.options),
        module=lambda options, dtype: ClipText(**options, dtype=dtype),
        example=_tokens,
        rows=lambda module, options: clip.rows(module),
        ignored=clip.IGNORED,
    ),
}


def detect(path: Path, tensors: Tensors) -> str:
    """The kind of a file of weights, from the config.json with it or its tensors' names."""
    config = config_of(path) or {}
    named = config.get("_class_name") or config.get("model_type")
    if named == "AutoencoderKLWan":
        return "wan_vae"
    # Some files of the T5 family tell their class alone ("UMT5ForConditionalGeneration").
    classes = [str(name).upper() for name in config.get("architectures") or ()]
    if named in t5.MODEL_TYPES or any(name.startswith(("T5", "MT5", "UMT5")) for name in classes):
        return "t5"
    if named in ("clip", "clip_text_model"):
        return "clip"
    try:
        raft.detect(tensors)
    except UserError:
        raise UserError(
            f"{path}: not a model that is known here ({', '.join(KINDS)}), by its tensors' names "
            f"or config.json{f', which is of {named!r}' if named else ''}"
        ) from None
    return "raft"


def abstract(kind: Kind, module: nn.Module) -> dict[str, Any]:
    """Shapes of a module's parameters, in flax's boxes of logical names."""
    example = kind.example(module)
    return jax.eval_shape(
        lambda: module.init(key_for("parameters", 0), *example)["params"]
    )
