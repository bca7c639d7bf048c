"""What only a compiled program's text (HLO) tells: what it moves between devices, and how often.

XLA's `cost_analysis` sums FLOPs and bytes, with the body of a loop once and nothing of what is
sent; `memory_analysis` tells of memory; and in Python the instructions of `hlo_modules` have a
name, an opcode and operands, and no more.

The text is followed as the program runs, through loops and fusions, with what is known of
each value (`_Value`) in the value's place. All that reads the text stands in this one file.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")
# The numbers stay what they are, wherever they lie.
PASSED_ON = ("copy", "bitcast", "convert", "reshape", "transpose", "bitcast-convert")
# What works on each element for itself may stand between a sum and the slice taken of it.
ELEMENTWISE = (*PASSED_ON, "multiply", "divide", "add", "subtract", "negate", "select")


@dataclasses.dataclass(frozen=True)
class Shape:
    """Of one array: `bf16[1,4096,3072]`."""

    dtype: str
    sizes: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.sizes)

    @property
    def bytes(self) -> float:
        bits = re.search(r"\d+", self.dtype)  # of bf16, u4, f8e4m3fn
        return self.elements * (int(bits.group()) / 8 if bits else self.dtype == "pred")


@dataclasses.dataclass(frozen=True)
class Move:
    """One array that a program moves between devices.

    Attributes:
      kind: one of `KINDS`: what it is for. An all-reduce of which each device takes only its
        own slice is a reduce-scatter, and one of slices laid into zeros an all-gather.
      done_as: how it is done: "all-reduce" for those two, else as `kind` says.
      shape: of the whole array on one device: what an all-gather gives, what the others are
        given.
      groups: numbers of the devices that take part together, `[groups, devices]`; of the
        slices, where it goes between them; pairs, where one passes it on to another.
      between_slices: whether it does.
      times: in one run of the program.
      names: of the program's arguments that the array depends on, up to the first bracket:
        "state.params", "batch".
      op_name: where in the Python program it comes from: `jit(step)/jvp(VideoModel)/...`.
    """

    kind: str
    done_as: str
    shape: Shape
    groups: np.ndarray
    between_slices: bool
    times: int
    names: frozenset[str]
    op_name: str


def moves(text: str, devices: int) -> list[Move]:
    """From the text of `jax.stages.Compiled.as_text()`.

    >>> (move,) = moves('''HloModule jit_f
    ...
    ... ENTRY %main (x: f32[8]) -> f32[16] {
    ...   %x = f32[8]{0} parameter(0), metadata={op_name="params['w']"}
    ...   ROOT %all-gather = f32[16]{0} all-gather(%x), replica_groups={{0,1}}, dimensions={0}
    ... }
    ... ''', devices=2)
    >>> move.kind, move.shape, move.groups.tolist(), move.times, sorted(move.names)
    ('all-gather', Shape(dtype='f32', sizes=(16,)), [[0, 1]], 1, ['params'])
    """
    computations, entry = _parse(text)
    program, before = _Program(computations), None
    arguments = {
        int(one.operands[0]): _Value(frozenset({re.split(r"[\[(]", one.op_name)[0] or one.name}))
        for one in computations[entry].values()
        if one.opcode == "parameter"
    }
    while program.meetings != before:
        before = dict(program.meetings)
        result = program.run(entry, [arguments[k] for k in sorted(arguments)], 1, ())
    program.used |= _flat(result).sums
    met: dict[tuple, _Met] = {}
    for place, move in program.met.items():
        # TPUs do a collective in pieces, in several fusions beside other work (some in inner
        # loops): all have its channel, and the first runs as often as it does.
        in_pieces = "async_collective_fusion_config" in move.one.attributes
        key = (move.one.attribute("channel_id"),) if in_pieces else place
        if key not in met or move.times < met[key].times:
            met[key] = move
    found = []
    for one, place, done_as, shapes, given, names, times in met.values():
        groups, between_slices = _groups(one.attributes, devices), one.opcode == "send"
        for k, shape in enumerate(shapes):
            kind = done_as
            if kind == "all-reduce" and shape.elements > 1 and not between_slices:
                if given[k].laid:
                    kind = "all-gather"
                elif (place, k) in program.sliced - program.used:
                    kind = "reduce-scatter"
            found.append(
                Move(kind, done_as, shape, groups, between_slices, times, names, one.op_name)
            )
    return found


def _integers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def _numbers(text: str) -> np.ndarray:
    """From `[4,2]`, 0 to 7 in that shape; from `[4,2]T(1,0)`, the same transposed."""
    sizes, order = re.search(r"\[([\d,]+)\](?:T\(([\d,]+)\))?", text).groups()
    numbers = np.arange(math.prod(_integers(sizes))).reshape(_integers(sizes))
    return numbers.transpose(_integers(order) if order else None)


def _groups(attributes: str, devices: int) -> np.ndarray:
    """`[groups, devices of a group]` from any of the ways in which XLA writes them."""
    if found := re.search(r'_xla_megascale_target="\{([\d,]+)\}', attributes):
        return np.arange(len(_integers(found.group(1))))[None]  # the slices, by number
    rows = r"(?:replica_groups|source_target_pairs)=\{\{([\d,{}]+)\}\}"
    if found := re.search(rows, attributes):
        return np.array([_integers(row) for row in found.group(1).split("},{")])
    if found := re.search(r"replica_groups=(\[[\d,]+\])<=(\[\S+)", attributes):
        return _numbers(found.group(2)).reshape(_integers(found.group(1)))
    # `mesh['a'=8,'b'=4], device_ids=([4,8]T(1,0)) {'a','b':(2)2}`; without an order of devices
    # they count up; `(2)2` is a part of an axis, 2 before it and 2 long.
    written = r"replica_groups=mesh\[([^\]]*)\]([^{]*)\{([^}]*)\}"
    if found := re.search(written, attributes):
        sizes, order, taken = found.groups()
        split, of_group = [], []
        for name, size in re.findall(r"'(\w+)'=(\d+)", sizes):
            part = re.search(rf"'{name}'(?::\((\d+)\)(\d+))?", taken)
            before, length = map(int, part.groups() if part and part.group(1) else (1, size))
            of_group += [len(split) + 1] if part else []
            split += [before, length, int(size) // (before * length)]
        numbers = _numbers(order if "[" in order else f"[{math.prod(split)}]").reshape(split)
        numbers = np.moveaxis(numbers, of_group, range(-len(of_group), 0))
        return numbers.reshape(-1, math.prod(split[k] for k in of_group))
    return np.arange(devices)[None]  # {}: all of them


class _Instruction(NamedTuple):
    """`%name = shapes opcode(operands), attributes`; a tuple has several shapes.

    `operands` are names of instructions of the same computation (the text of it for a
    constant, a number for a parameter); `attributes` is the rest of the line.
    """

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    attributes: str
    is_root: bool

    @property
    def op_name(self) -> str:
        """Where in the Python program it comes from: `jit(step)/jvp(VideoModel)/trunk/...`."""
        found = re.search(r'op_name="((?:[^"\\]|\\.)*)"', self.attributes)
        return found.group(1).replace("\\'", "'") if found else ""

    def attribute(self, name: str) -> str | None:
        """`body=%b` -> "b", `index=3` -> "3"; None when it is not there."""
        found = re.search(rf"\b{name}=%?([\w.\-]+)", self.attributes)
        return found.group(1) if found else None


_LINE = re.compile(r"  (ROOT )?%([\w.\-]+) = (.+?) ([a-z][\w\-]*)\((.*?)\)(.*)", re.DOTALL)


def _parse(text: str) -> tuple[dict[str, dict[str, _Instruction]], str]:
    """The instructions of each computation by their names, and which is the program."""
    computations, entry = {}, ""
    # Not at every end of a line: an attribute may hold text of several.
    for line in re.split(r"\n(?=  (?:ROOT )?%|%|ENTRY )", text):
        if head := re.match(r"(ENTRY )?%([\w.\-]+) \(", line):
            computation = computations[head.group(2)] = {}
            entry = head.group(2) if head.group(1) else entry
        elif found := _LINE.match(line):
            root, name, shape, opcode, inside, attributes = found.groups()
            shapes = tuple(
                Shape(dtype, tuple(_integers(sizes)))
                for dtype, sizes in re.findall(r"\b([a-z]\w*)\[([\d,<=]*)\]", shape)
            )
            operands = tuple(re.findall(r"%([\w.\-]+)", inside) or [inside])
            computation[name] = _Instruction(
                name, opcode, shapes, operands, attributes, is_root=bool(root)
            )
    return computations, entry


@dataclasses.dataclass(frozen=True)
class _Value:
    """What is known of an array. A tuple is a tuple of them.

    Attributes:
      names: as a `Move` has them.
      constant: the text of the one that it is, or is filled with; None for others. Of a
        comparison of whole numbers, how far the left one is from where it no longer holds.
      laid: whether it is a shard written (or padded) into an array of one constant.
      sums: results of all-reduces that it is made of, element by element.
    """

    names: frozenset[str] = frozenset()
    constant: str | None = None
    laid: bool = False
    sums: frozenset[tuple] = frozenset()

    @property
    def number(self) -> int | None:
        is_whole = self.constant is not None and re.fullmatch(r"-?\d+", self.constant)
        return int(self.constant) if is_whole else None


def _union(a: _Value, b: _Value) -> _Value:
    return _Value(a.names | b.names, sums=a.sums | b.sums)


def _flat(value) -> _Value:
    """All that a value depends on, the elements of a tuple together."""
    return functools.reduce(_union, map(_flat, value)) if isinstance(value, tuple) else value


def _join(a, b):
    """What is known of a value that is one or the other."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return tuple(map(_join, a, b))
    a, b = _flat(a), _flat(b)
    constant = a.constant if a.constant == b.constant else None
    return dataclasses.replace(_union(a, b), constant=constant, laid=a.laid and b.laid)


class _Met(NamedTuple):
    """A collective as it is met; `place` is its name after those of all that is around it."""

    one: _Instruction
    place: tuple[str, ...]
    kind: str
    shapes: Sequence[Shape]
    given: Sequence[_Value]
    names: frozenset[str]
    times: int


@dataclasses.dataclass
class _Program:
    """A program as it is followed, and what is found on the way.

    Attributes:
      met: collectives, by their places.
      sliced, used: results of all-reduces of which slices are taken; of which all is used.
      meetings: names of the arguments that reach each exchange between slices.
    """

    computations: Mapping[str, Mapping[str, _Instruction]]
    met: dict[tuple, _Met] = dataclasses.field(default_factory=dict)
    sliced: set[tuple] = dataclasses.field(default_factory=set)
    used: set[tuple] = dataclasses.field(default_factory=set)
    meetings: dict[str, frozenset[str]] = dataclasses.field(default_factory=dict)

    def run(self, name: str, given: Sequence, times: int, around: tuple):
        """The value of a computation that runs so many times."""
        values = {}
        for one in self.computations[name].values():
            inputs = [values[operand] for operand in one.operands if operand in values]
            if one.opcode == "parameter":
                value = given[int(one.operands[0])]
            else:
                value = self.value(one, inputs, times, (*around, name, one.name))
            values[one.name] = value
            if one.is_root:
                result = value
        return result

    def value(self, one: _Instruction, inputs: list, times: int, place: tuple):
        """The value of an instruction, of those that hand on tuples."""
        if one.opcode == "tuple":
            return tuple(inputs)
        if one.opcode == "get-tuple-element" and isinstance(inputs[0], tuple):
            return inputs[0][int(one.attribute("index"))]
        if one.opcode == "while":
            return self.loop(one, inputs[0], times, place)
        if one.opcode in ("fusion", "call", "async-start"):
            inner = one.attribute("calls") or one.attribute("to_apply")
            return self.run(inner, inputs, times, place)
        passes_on = one.opcode in (*PASSED_ON, "copy-start", "optimization-barrier")
        if passes_on or one.opcode.endswith("-done"):
            return inputs[0]
        return self.array(one, [_flat(value) for value in inputs], times, place)

    def loop(self, one: _Instruction, state, times: int, place: tuple):
        """What a loop leaves; its body is followed until nothing more is found.

        The CPU's compiler writes down how often it runs. On TPUs it does while a counter is
        less than a bound, and its first run tells how far that moves. Else it counts once.
        """
        body, condition = one.attribute("body"), one.attribute("condition")
        after = self.run(body, [state], times, place)
        left, then = (
            self.run(condition, [value], times, place).number or 0 for value in (state, after)
        )
        count = max(0, math.ceil(left / (left - then))) if left > then else 1
        if known := re.search(r'known_trip_count"?:\{"?n"?:"?(\d+)', one.attributes):
            count = int(known.group(1))
        before, state = None, _join(state, after)
        while state != before:
            before = state
            state = _join(state, self.run(body, [state], times * count, place))
        self.used |= _flat(state).sums
        return state

    def array(self, one: _Instruction, inputs: list[_Value], times: int, place: tuple):
        """The value of an instruction that makes an array."""
        value = functools.reduce(_union, inputs, _Value())
        numbers = [given.number for given in inputs]
        names, constant, laid = value.names, None, one.opcode == "pad"
        match one.opcode:
            case "constant":
                constant = one.operands[0]
            case "broadcast":
                constant = inputs[0].constant
            case "add" if None not in numbers:
                constant = str(sum(numbers))
            case "compare" if None not in numbers and "direction=L" in one.attributes:
                constant = str(numbers[1] - numbers[0] + ("direction=LE" in one.attributes))
            case "dynamic-update-slice":
                laid = inputs[0].constant is not None
            case "select":  # slices laid into zeros where they lie side by side
                laid = any(given.constant is not None for given in inputs[1:])
        if one.opcode in ("dynamic-slice", "slice"):
            self.sliced |= inputs[0].sums
        elif one.opcode not in ELEMENTWISE:
            self.used |= value.sums
        kind = one.opcode.removesuffix("-start")
        if kind == "all-reduce" and place[-2].startswith("all-reduce-scatter"):
            kind = "reduce-scatter"  # a fusion of TPUs that reads like a sum
        if one.opcode in ("send", "recv"):
            # Between slices TPUs send by the hosts' network. Which collective that is part of
            # stands in an attribute; the sum comes back, maybe earlier in the text.
            if found := re.search(r'_xla_host_transfer_rendezvous="([^"]*)"', one.attributes):
                names |= self.meetings.get(found.group(1), frozenset())
                self.meetings[found.group(1)] = names
            found = re.search(r'_xla_megascale_transfer_type="(\w+)"', one.attributes)
            if found and one.opcode == "send":
                kind = found.group(1).lower().replace("_", "-")
        if kind not in KINDS:
            sums = value.sums if one.opcode in ELEMENTWISE else frozenset()
            return _Value(names, constant, laid, sums)
        # Each array (several may be combined) at its larger end.
        there = self.computations[place[-2]]
        operands = one.operands[:1] if one.opcode == "send" else one.operands
        shapes = [shape for name in operands for shape in there[name].shapes]
        if kind == "all-gather":
            shapes = one.shapes[len(shapes) :] if one.opcode.endswith("-start") else one.shapes
        self.met[place] = _Met(one, place, kind, shapes, inputs, names, times)
        results = [_Value(names, sums=frozenset({(place, k)})) for k in range(len(one.shapes))]
        return tuple(results) if len(results) > 1 else results[0]
