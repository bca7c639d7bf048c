"""What is known of a config key, at the field of the dataclass that the code takes.

A section of a config is a frozen dataclass (or a Flax module) whose fields are made here:

    @dataclasses.dataclass(frozen=True)
    class LossOptions:
        p_drop_text: float = config_key(0.3, "share of ...", minimum=0.0, maximum=1.0)

Default, meaning and range of a key stand there and nowhere else: the schema, `videojam keys`,
docs/keys.md, the checks of a config file and those of an object made in Python (`check`) all read
them. A field that is not made here is no key: the code sets it.
"""

import dataclasses
import os
import typing
from collections.abc import Mapping
from typing import Any

from videojam_jax.errors import UserError

REQUIRED: Any = object()  # the default of a key that every config has to set

# What a key matters for, beside the run itself.
CLIPS = "clips"  # shapes prepared clips: another value asks for another folder
MODEL = "model"  # fixes the shapes of the parameters, or what their latents mean
SAMPLES = "samples"  # shapes a sampled clip
TRAINING = "training"  # what a training is made of; the rest may change while it lasts
HOST = "host"  # of a machine: may differ between the processes of one run

# In place of a path of weights: random ones, for a try; before a name, those of the package.
RANDOM = "random"
BUILTIN = "builtin:"

_ENTRY = "config"  # where a field's metadata has its entry

KINDS = {
    int: "a whole number",
    float: "a number",
    str: "a word",
    bool: "True or False",
    tuple: "a tuple of values",
}


@dataclasses.dataclass(frozen=True)
class Key:
    """One config key.

    Attributes:
      doc: what it means.
      minimum, maximum: what is allowed; of a tuple, of each of its values.
      below: as `maximum`, but less than that.
      choices: the values there are; of a tuple, for each of its values.
      path: of a file or folder (or several); a relative one is made absolute.
      tags: what it matters for: CLIPS, MODEL, SAMPLES, TRAINING; HOST.
      default: from the field; `REQUIRED` where it has none.
      kind, length: from the field: the type, and of a tuple how many values.
    """

    doc: str
    minimum: float | None = None
    maximum: float | None = None
    below: float | None = None
    choices: tuple | None = None
    path: bool = False
    tags: tuple[str, ...] = ()
    default: Any = REQUIRED
    kind: type | None = None
    length: int | None = None


@dataclasses.dataclass(frozen=True)
class Part:
    """A section within a section; its tags are of all its keys."""

    section: type
    tags: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Variants:
    """A section whose keys depend on its `name`; `name_tags` are of the name alone."""

    default: str
    sections: Mapping[str, type]
    tags: tuple[str, ...] = ()
    name_tags: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Changes:
    """A section of any keys of another config, which is checked where that is read."""

    doc: str


Entry = Key | Part | Variants | Changes


def config_key(default: Any, doc: str, **about: Any) -> Any:
    """The field of one key; `about` is what else `Key` takes. Its type is the annotation's."""
    if default is REQUIRED:
        default = dataclasses.MISSING
    return dataclasses.field(default=default, metadata={_ENTRY: Key(doc, **about)})


def part(section: type, **about: Any) -> Any:
    """The field of a section within a section."""
    return dataclasses.field(default_factory=section, metadata={_ENTRY: Part(section, **about)})


def variants(default: str, sections: Mapping[str, type], **about: Any) -> Any:
    """The field of a section that is one of several, by its `name`."""
    return dataclasses.field(metadata={_ENTRY: Variants(default, sections, **about)})


def changes(doc: str) -> Any:
    """The field of a section of another config's keys."""
    return dataclasses.field(metadata={_ENTRY: Changes(doc)})


def same(section: type, name: str, **about: Any) -> Any:
    """The field of a key that another section, which the code takes elsewhere, has as well."""
    (field,) = (field for field in dataclasses.fields(section) if field.name == name)
    entry = dataclasses.replace(field.metadata[_ENTRY], **about)
    return dataclasses.field(default=field.default, metadata={_ENTRY: entry})


def entries(section: type) -> dict[str, Entry]:
    """The keys and sections that a section has, by name, in the order of its fields."""
    found = {}
    for field in dataclasses.fields(section):
        entry = field.metadata.get(_ENTRY)
        if isinstance(entry, Key):
            kind = typing.get_origin(field.type) or field.type
            length = None
            if kind is tuple and Ellipsis not in typing.get_args(field.type):
                length = len(typing.get_args(field.type))
            elif kind not in KINDS:
                kind = type(field.default)  # of wider types, as those of dtypes
            default = REQUIRED if field.default is dataclasses.MISSING else field.default
            entry = dataclasses.replace(entry, default=default, kind=kind, length=length)
        if entry is not None:
            found[field.name] = entry
    return found


def make(section: type, values: Mapping[str, Any], **more: Any) -> Any:
    """The object of a section, from the checked values of its keys and what the code sets."""
    given = {name: values[name] for name, entry in entries(section).items() if name not in more}
    return section(**given, **more)


def check(options: Any, path: str) -> None:
    """For a section's `__post_init__`: UserError when a value is out of its key's range.

    Args:
      options: the object.
      path: of the section, `config.loss`.
    """
    for name, entry in entries(type(options)).items():
        if isinstance(entry, Key):
            checked(entry, getattr(options, name), f"{path}.{name}")


def checked(entry: Key, value: Any, path: str) -> Any:
    """The value of a key as the code takes it; UserError, which names `path`, if it cannot."""
    if value is REQUIRED:
        raise UserError(f"{path} is not set: {entry.doc}")
    kind = entry.kind
    if kind is tuple and isinstance(value, list):
        value = tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1000 else float("inf")
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UserError(f"{path} = {value!r}: {KINDS[kind]} is wanted ({entry.doc})")
    if entry.length is not None and len(value) != entry.length:
        raise UserError(f"{path} = {value!r}: {entry.length} values are wanted ({entry.doc})")
    if entry.path:
        value = tuple(map(_absolute, value)) if kind is tuple else _absolute(value)
    for item in value if kind is tuple else (value,):
        if entry.choices is not None and item not in entry.choices:
            known = ", ".join(map(str, entry.choices))
            raise UserError(f"{path} = {value!r}; one of: {known}")
        ranged = (entry.minimum, entry.maximum, entry.below) != (None, None, None)
        if ranged and not isinstance(item, int | float):
            raise UserError(f"{path} = {value!r}: numbers are wanted ({entry.doc})")
        if entry.minimum is not None and not item >= entry.minimum:
            raise UserError(f"{path} = {value!r}: at least {entry.minimum} ({entry.doc})")
        if entry.maximum is not None and not item <= entry.maximum:
            raise UserError(f"{path} = {value!r}: at most {entry.maximum} ({entry.doc})")
        if entry.below is not None and not item < entry.below:
            raise UserError(f"{path} = {value!r}: less than {entry.below} ({entry.doc})")
    return value


def tagged(
    section: type, values: Mapping[str, Any], tag: str, above: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The part of a tree of values whose keys matter for `tag`, by themselves or by their section.

    Args:
      section: that the tree is of.
      values: of all its keys, as a loaded config has them.
      tag: one of those of `Key`.
      above: tags of the section itself.
    """
    found: dict[str, Any] = {}
    for name, entry in entries(section).items():
        if isinstance(entry, Key):
            if tag in (*above, *entry.tags):
                found[name] = values[name]
        elif isinstance(entry, Part):
            inner = tagged(entry.section, values[name], tag, (*above, *entry.tags))
            found |= {name: inner} if inner else {}
        elif isinstance(entry, Variants):
            chosen, tags = values[name]["name"], (*above, *entry.tags)
            inner = tagged(entry.sections[chosen], values[name], tag, tags)
            if inner or tag in (*tags, *entry.name_tags):
                found[name] = {"name": chosen, **inner}
    return found


def jsonable(tree: Any) -> Any:
    """A tree of settings as JSON gives it back: tuples are lists."""
    if isinstance(tree, Mapping):
        return {name: jsonable(value) for name, value in tree.items()}
    return list(tree) if isinstance(tree, tuple) else tree


def _absolute(path: Any) -> Any:
    """A path that means the same from any folder; an empty one, a word and a URL stay."""
    if not isinstance(path, str) or path in ("", RANDOM) or "://" in path:
        return path
    if path.startswith(BUILTIN):
        return path
    return os.path.abspath(os.path.expanduser(path))
