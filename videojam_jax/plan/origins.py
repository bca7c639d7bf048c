"""What a value inside a compiled program depends on: which of the program's arguments.

XLA keeps an argument's name in its text (`state.params['trunk']...`, `batch['video']`), so
a gathered array can be told to be weights, which depend on the parameters alone, from
activations, which also depend on the batch, whatever their shapes are.
"""

import re

from videojam_jax.plan.hlo import Computation, Instruction, Module

# Of an array: the roots of the names of the arguments it depends on, none for a constant.
# Of a tuple: the origins of its elements.
Names = frozenset[str]
Origins = Names | tuple["Origins", ...]

NOTHING: Names = frozenset()


def origins(module: Module) -> dict[tuple[str, str], Names]:
    """From `(computation, instruction)` to the arguments it depends on, in any of its runs.

    An argument goes by its name up to the first bracket: "state.params", "null.tokens",
    "batch['video']" is "batch". A loop is followed until nothing more is found.
    """
    found: dict[tuple[str, str], Names] = {}
    entry = module.computations[module.entry]
    given = {
        int(one.operands[0]): frozenset({re.split(r"[\[(]", one.op_name)[0] or one.name})
        for one in entry
        if one.opcode == "parameter"
    }
    before = None
    while found != before:  # what is received may stand before what is sent
        before = dict(found)
        _follow(module, entry, [given[k] for k in sorted(given)], found)
    return found


def _follow(module: Module, computation: Computation, given: list[Origins], found) -> Origins:
    """The origins of a computation's result; notes those of all its instructions."""
    values: dict[str, Origins] = {}
    for one in computation:
        value = _value(module, one, values, given, found)
        values[one.name] = value
        key = (computation.name, one.name)
        found[key] = found.get(key, NOTHING) | flat(value)
    return values[computation.root.name]


def _value(module: Module, one: Instruction, values, given, found) -> Origins:
    if one.opcode == "parameter":
        return given[int(one.operands[0])]
    inputs = [values[name] for name in one.operands if name in values]
    if one.opcode == "tuple":
        return tuple(inputs)
    if one.opcode == "get-tuple-element":
        whole = inputs[0]
        return whole[int(one.attribute("index"))] if isinstance(whole, tuple) else whole
    if one.opcode == "while":
        body = module.computations[one.called[1]]
        state, before = inputs[0], None
        while state != before:
            before, state = state, _join(state, _follow(module, body, [state], found))
        return state
    if one.opcode in ("fusion", "call", "async-start"):
        return _follow(module, module.computations[one.called[0]], inputs, found)
    if one.opcode == "conditional":
        branches = [
            _follow(module, module.computations[name], [value], found)
            for name, value in zip(one.called, inputs[1:], strict=True)
        ]
        result = branches[0]
        for branch in branches[1:]:
            result = _join(result, branch)
        return result
    if one.opcode in ("copy-start", "copy-done", "copy", "optimization-barrier", "async-done"):
        return inputs[0]
    everything = NOTHING
    for value in inputs:
        everything |= flat(value)
    meeting = re.search(r'_xla_host_transfer_rendezvous="([^"]*)"', one.attributes)
    if meeting and one.opcode in ("send", "recv"):  # between slices; the sum comes back
        key = ("between slices", meeting.group(1))
        found[key] = everything = everything | found.get(key, NOTHING)
    return everything


def flat(value: Origins) -> Names:
    """All that a value depends on, the elements of a tuple together."""
    if isinstance(value, tuple):
        return frozenset().union(*map(flat, value))
    return value


def _join(a: Origins, b: Origins) -> Origins:
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        return tuple(_join(x, y) for x, y in zip(a, b, strict=True))
    if a == b:
        return a
    return flat(a) | flat(b)
