"""Where two trees of settings differ."""

from typing import Any

ABSENT = type("Absent", (), {"__repr__": lambda self: "absent"})()


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """The values of a tree (a dictionary, a config) by their dotted paths; `{}` counts as one.

    >>> flat({"a": {"b": 1}, "c": {}})
    {'a.b': 1, 'c': {}}
    """
    if not hasattr(tree, "items") or not len(tree):
        return {prefix: tree}
    found = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}.{key}" if prefix else key)
    return found


def differences(before: Any, now: Any) -> list[tuple[str, Any, Any]]:
    """Path, value before and value now (or `ABSENT`) of all that differ, in the order of `now`.

    >>> differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}, "d": 3})
    [('d', absent, 3), ('a.c', 2, absent)]
    """
    one, other = flat(before), flat(now)
    keys = dict.fromkeys([*other, *one])
    found = [(key, one.get(key, ABSENT), other.get(key, ABSENT)) for key in keys]
    return [(key, there, here) for key, there, here in found if there != here]
