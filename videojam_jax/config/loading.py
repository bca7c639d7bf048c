"""Configs: read, filled with defaults and checked before anything starts.

A config file has a function `get_config(arg)` that returns an ml_collections
`ConfigDict` naming what its experiment uses. `config.schema` lists every key there
is; an unknown key is an error that names the nearest known one.
"""

import ast
import difflib
import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections

from videojam_jax.checkpoints.builtin import is_builtin, run_folder
from videojam_jax.checkpoints.exported import config_in, is_export
from videojam_jax.config.experiment import ExperimentConfig
from videojam_jax.config.schema import REPLACED, AutoencoderConfig, Config
from videojam_jax.errors import UserError, first_line
from videojam_jax.keys import REQUIRED, Changes, Key, Part, Variants, checked, entries

# What helps where the config beside a run was damaged.
ANEW = (
    "delete it and run `videojam train` again with the config of this run: that writes it anew "
    "and goes on from the last checkpoint"
)


def load(
    name: str, overrides: dict[str, str] | None = None, changes: Mapping[str, Any] | None = None
) -> ml_collections.FrozenConfigDict:
    """Read `FILE.py` or `FILE.py:ARG`, apply changes and `--config.key=value` overrides, check.

    Args:
      name: as given on the command line; ARG goes to the file's `get_config`.
      overrides: dotted key to the text of its value.
      changes: a tree of keys and values.
    Returns:
      A frozen config with every key of `Config` that its variants have.
    """
    tree = _read(name)
    if "experiment" in tree:
        raise UserError(
            f"{name}: this is the config of an experiment; run it with `videojam evaluate`"
        )
    merge(tree, changes or {})
    _override_all(tree, overrides or {})
    return resolve(tree)


def load_experiment(
    name: str, overrides: dict[str, str] | None = None
) -> ml_collections.FrozenConfigDict:
    """Read the config of an experiment, as `load`, with every key of `ExperimentConfig`.

    Its runs' paths come out absolute.
    """
    tree = _read(name)
    if "experiment" not in tree:
        raise UserError(f"{name}: no experiment; those are in configs/experiments")
    _override_all(tree, overrides or {})
    filled = _fill(ExperimentConfig, tree, "")
    if not filled["seeds"]:
        raise UserError("config.seeds is empty: name at least one, (0,)")
    folder = Path(name.partition(":")[0]).absolute().parent
    for run, path in filled["runs"].items():
        if path and not is_builtin(path):
            filled["runs"][run] = os.path.normpath(folder / path)
    return ml_collections.FrozenConfigDict(filled)


def _read(name: str) -> dict:
    """What a config file's `get_config` returns."""
    path, _, arg = name.partition(":")
    if not Path(path).is_file():
        raise UserError(f"{path}: no such config file{_nearest_file(path)}")
    spec = importlib.util.spec_from_file_location("videojam_config", path)
    if spec is None or not path.endswith(".py"):
        raise UserError(f"{path}: a config is a Python file with a function get_config")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config(arg) if arg else module.get_config()
    except UserError:
        raise
    except KeyError as error:
        raise UserError(f"{path}: it does not know {error}; see the commands at its top") from error
    except Exception as error:
        raise UserError(f"{path}: {type(error).__name__}: {error}") from error
    return config.to_dict()


def load_resolved(
    path: Path, overrides: dict[str, str] | None = None, changes: Mapping[str, Any] | None = None
) -> ml_collections.FrozenConfigDict:
    """Read the config that `videojam train` keeps beside its run; changes and overrides as `load`."""
    tree = _saved(path)
    merge(tree, changes or {})
    _override_all(tree, overrides or {})
    try:
        return resolve(tree)
    except UserError:
        _check_saved(path)
        raise


def _saved(path: Path) -> dict:
    """The tree of a run's config as it is on disk."""
    tree = _of_weights(path) if is_export(path) else _of_file(path)
    _translate(tree)
    return tree


def _of_weights(path: Path) -> dict:
    """The config that weights tell of the run they are of."""
    tree = config_in(path)
    if not isinstance(tree, dict):
        raise UserError(
            f"{path}: it says nothing of its run's config; `videojam convert RUN --out TO` writes "
            "weights that do"
        )
    return tree


def _of_file(path: Path) -> dict:
    try:
        tree = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; is this a workdir of `videojam train`?") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: no text at byte {error.start}; {ANEW}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: {first_line(error)}; {ANEW}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: no sections of keys; {ANEW}")
    return tree


def _check_saved(path: Path) -> None:
    """UserError if what is wrong with a run's config is wrong in the file already."""
    tree = _saved(path)
    try:
        resolve(tree)
    except UserError as error:
        raise UserError(f"{path}: {error}; {ANEW}") from None


def _translate(tree: dict) -> None:
    """Keys that versions before kept beside a run, as they are called now (see `REPLACED`)."""
    sample = tree.get("sample")
    if not isinstance(sample, dict) or "inner_share" in sample:
        return
    inner, steps = sample.get("inner_steps"), sample.get("steps")
    # What is no number is told of where the tree is checked.
    if isinstance(inner, int) and isinstance(steps, int) and steps > 0:
        del sample["inner_steps"]
        sample["inner_share"] = min(inner / steps, 1.0)


def resolve(tree: dict) -> ml_collections.FrozenConfigDict:
    """Check a tree of keys and fill in what it leaves out.

    It is checked against `Config`; one with a section `tae` against `AutoencoderConfig`.
    """
    if "tae" in tree:
        return ml_collections.FrozenConfigDict(_fill(AutoencoderConfig, tree, ""))
    filled = _fill(Config, tree, "")
    width, heads = filled["model"]["trunk"]["width"], filled["model"]["trunk"]["heads"]
    if width % heads:
        raise UserError(f"config.model.trunk.heads = {heads} does not divide width = {width}")
    text = filled["text"]
    if text["name"] == "bytes" and text["width"] % text["heads"]:
        raise UserError(
            f"config.text.heads = {text['heads']} does not divide width = {text['width']}"
        )
    if text["name"] == "pretrained":
        counts = {key: len(text[key]) for key in ("max_lengths", "widths", "weights", "reads")}
        if not counts["widths"] or counts["widths"] != counts["max_lengths"] or any(
            counts[key] not in (0, counts["widths"]) for key in ("weights", "reads")
        ):
            raise UserError(
                "config.text: max_lengths, widths, weights and reads have "
                f"{', '.join(map(str, counts.values()))} values; one of each is wanted for every "
                "encoder (weights and reads may be empty)"
            )
    sample = filled["sample"]
    if sample["schedule"] == "linear_quadratic" and sample["emulate"] < sample["steps"]:
        raise UserError(
            f"config.sample.emulate = {sample['emulate']} is less than steps = {sample['steps']}: "
            "linear_quadratic takes its first half from a finer linear schedule"
        )
    return ml_collections.FrozenConfigDict(filled)


def to_json(config: ml_collections.FrozenConfigDict) -> str:
    """The config as indented JSON, as it is kept beside a run."""
    return json.dumps(ml_collections.ConfigDict(config).to_dict(), indent=2) + "\n"


def explain() -> str:
    """Every key with its default and meaning, a line each (for `videojam keys`)."""
    lines = []

    def walk(section, prefix):
        for name, entry in entries(section).items():
            if isinstance(entry, Key):
                default = "required" if entry.default is REQUIRED else repr(entry.default)
                allowed = f" [{' | '.join(map(str, entry.choices))}]" if entry.choices else ""
                lines.append(f"{prefix}{name} = {default}{allowed}: {entry.doc}")
            elif isinstance(entry, Changes):
                lines.append(f"{prefix}{name}.KEY: {entry.doc}")
            elif isinstance(entry, Variants):
                for variant, inner in entry.sections.items():
                    lines.append(f"{prefix}{name}.name = {variant!r}:")
                    walk(inner, f"  {prefix}{name}.")
            else:
                walk(entry.section, f"{prefix}{name}.")

    walk(Config, "config.")
    lines.append("\nof a temporal autoencoder (a config with the section `tae`):")
    walk(AutoencoderConfig, "config.")
    lines.append("\nof an experiment (videojam evaluate):")
    walk(ExperimentConfig, "config.")
    return "\n".join(lines)


def _fill(section: type, tree: dict, prefix: str, root: type | None = None) -> dict:
    root, known = root or section, entries(section)
    for name in _section(tree, prefix.rstrip(".")):
        if name not in known:
            raise UserError(_unknown(prefix + name, known, prefix, root))
    filled = {}
    for name, entry in known.items():
        path = prefix + name
        if isinstance(entry, Key):
            filled[name] = checked(entry, tree.get(name, entry.default), f"config.{path}")
        elif isinstance(entry, Changes):
            filled[name] = _section(tree.get(name, {}), path)
        elif isinstance(entry, Variants):
            values = dict(_section(tree.get(name, {}), path))
            variant = values.pop("name", entry.default)
            if not isinstance(variant, str) or variant not in entry.sections:
                raise UserError(
                    f"config.{path}.name = {variant!r}; known: {', '.join(entry.sections)}"
                )
            inner = _fill(entry.sections[variant], values, f"{path}.", root)
            filled[name] = {"name": variant, **inner}
        else:
            filled[name] = _fill(entry.section, tree.get(name, {}), f"{path}.", root)
    return filled


def _section(value: Any, path: str) -> dict:
    if not isinstance(value, dict):
        raise UserError(f"config.{path}: a section of keys, not {value!r}")
    return value


def beside(path: str, workdir: Path) -> Path:
    """A path in a config: a relative one starts at the run's workdir; or `builtin:NAME`."""
    if is_builtin(path):
        return run_folder(path)
    return Path(os.path.normpath(workdir / path))


def is_autoencoder(config: ml_collections.FrozenConfigDict) -> bool:
    """Whether a config trains an autoencoder, and not a diffusion model."""
    return "tae" in config


def merge(tree: dict, changes: Mapping[str, Any]) -> None:
    """Puts a tree of changes into another; a section of another `name` is begun anew."""
    for key, value in changes.items():
        if not isinstance(value, Mapping) or not isinstance(tree.get(key), dict):
            tree[key] = value
            continue
        if value.get("name", tree[key].get("name")) != tree[key].get("name"):
            tree[key].clear()
        merge(tree[key], value)


def _override_all(tree: dict, overrides: dict[str, str]) -> None:
    # Names first: another source (or trunk, ...) starts with none of the old one's keys.
    for key in sorted(overrides, key=lambda key: not key.endswith(".name")):
        _override(tree, key, overrides[key])


def _override(tree: dict, key: str, text: str) -> None:
    *sections, name = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise UserError(f"config.{key}: {section} is a value, not a section")
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text  # a word is a string
    if name == "name" and tree.get("name") != value:
        tree.clear()
    tree[name] = value


def _unknown(path: str, known: dict, prefix: str, root: type) -> str:
    if path in REPLACED:
        return f"unknown key config.{path}: now it is {REPLACED[path]}"
    name = path.rpartition(".")[2]
    paths = _all_paths(root, "")
    # The right name in the wrong section; then initials ("lr"); then a slip of the pen.
    if path in paths:
        return f"config.{path} is no key of what config.{prefix}name chooses; it has: " + ", ".join(
            known
        )
    found = [p for p in paths if p.rpartition(".")[2] == name]
    found = found or [prefix + k for k in known if "".join(w[0] for w in k.split("_")) == name]
    found = found or [prefix + difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]]
    return f"unknown key config.{path}: did you mean config.{found[0]}?"


def _all_paths(section: type, prefix: str) -> list[str]:
    paths = []
    for name, entry in entries(section).items():
        if isinstance(entry, Variants):
            for inner in entry.sections.values():
                paths += _all_paths(inner, f"{prefix}{name}.")
        elif isinstance(entry, Part):
            paths += _all_paths(entry.section, f"{prefix}{name}.")
        else:
            paths.append(prefix + name)
    return paths


def _nearest_file(path: str) -> str:
    folder = Path(path).parent
    names = [p.name for p in folder.glob("*.py")] if folder.is_dir() else []
    near = difflib.get_close_matches(Path(path).name, names, n=1)
    return f"; did you mean {folder / near[0]}?" if near else ""
