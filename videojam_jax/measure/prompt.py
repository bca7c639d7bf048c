"""What a caption of a simulated clip says, and the captions that say it.

`parse` inverts `data.describe.describe`.
"""

import dataclasses
import re

import numpy as np

from videojam_jax.data import describe
from videojam_jax.data.scenes import ALONE, DIRECTED
from videojam_jax.data.shapes import SHAPES
from videojam_jax.data.stage import COLOURS, Body, Scene

WAYS = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}
SENSES = {word: sense for sense, word in describe.SENSES.items()}
_SHAPES = {**SHAPES, **{shape.name: shape for shape in ALONE.values()}}
_ONE = {one: kind for kind, (one, _) in describe.VERBS.items()}
_MANY = {many: kind for kind, (_, many) in describe.VERBS.items()}
_BODY = re.compile(r"an? ([a-z]+) ([a-z]+)")
_WHERE = (
    r"(?P<slope> down a slope)?(?: to the (?P<way>left|right))?"
    rf"(?: (?P<sense>{'|'.join(SENSES)}))?"
)
_PAN = re.compile(r"(?P<rest>.*), the camera pans (?P<way>left|right|up|down)", re.DOTALL)
_HIT = re.compile(r"(?P<first>an? \w+ \w+) hits (?P<second>an? \w+(?: \w+)?)")
_ALONE = re.compile(rf"(?P<name>an? \w+ \w+) (?P<verb>{'|'.join(_ONE)}){_WHERE}")
_TOGETHER = re.compile(rf"\w+ bodies (?P<verb>{'|'.join(_MANY)}){_WHERE}: (?P<names>.+)")


@dataclasses.dataclass(frozen=True)
class Prompt:
    """What a caption says.

    Attributes:
      kind: of motion, a key of `data.scenes.KINDS`.
      names: `(colour, shape)` of each body; "collide" with one body is with a wall.
      direction: of rolling and of figures, 1 to the right and -1 to the left; of a wheel, 1
        clockwise and -1 against it; 0 where it is not said.
      slope: whether they roll down a slope.
      pan: the camera's direction, `(x, y)`, each -1, 0 or 1.
    """

    kind: str
    names: tuple[tuple[str, str], ...]
    direction: int = 0
    slope: bool = False
    pan: tuple[int, int] = (0, 0)

    @property
    def stays(self) -> bool:
        """Whether what it tells of need not go anywhere."""
        return self.kind == "wheel"


def caption(prompt: Prompt) -> str:
    """The caption of a scene of which this is true.

    >>> caption(Prompt("roll", (("red", "disc"),), 1))
    'a red disc rolls to the right'
    """
    bodies = tuple(Body(_SHAPES[shape], colour, "dots", 1.0) for colour, shape in prompt.names)
    camera = np.array([(0, 0), prompt.pan], float)
    laws = {"slope": float(prompt.slope), "direction": float(prompt.direction)}
    return describe.describe(Scene(prompt.kind, bodies, (), camera, (), laws))


def parse(text: str) -> Prompt | None:
    """What a caption says; None when it is not one that `describe` writes.

    >>> parse("a red disc rolls to the right, the camera pans up")
    Prompt(kind='roll', names=(('red', 'disc'),), direction=1, slope=False, pan=(0, -1))
    >>> parse("a dog runs") is None
    True
    """
    pan, rest = (0, 0), text
    if panned := _PAN.fullmatch(text):
        pan, rest = WAYS[panned["way"]], panned["rest"]
    if found := _HIT.fullmatch(rest):
        kind = "collide"
        names = [found["first"]] + ([found["second"]] if found["second"] != "a wall" else [])
    elif found := _ALONE.fullmatch(rest):
        kind, names = _ONE[found["verb"]], [found["name"]]
    elif found := _TOGETHER.fullmatch(rest):
        kind, names = _MANY[found["verb"]], re.split(", | and ", found["names"])
    else:
        return None
    bodies = [_BODY.fullmatch(name) for name in names]
    known = {ALONE[kind].name} if kind in ALONE else SHAPES
    if not all(body and body[1] in COLOURS and body[2] in known for body in bodies):
        return None
    where = found.groupdict()
    direction = WAYS[where["way"]][0] if where.get("way") else SENSES.get(where.get("sense"), 0)
    prompt = Prompt(
        kind,
        tuple((body[1], body[2]) for body in bodies),
        direction,
        bool(where.get("slope")),
        pan,
    )
    can_be = (
        (kind in DIRECTED) == (direction != 0)
        and not (prompt.slope and kind != "roll")
        and not (kind in ALONE and len(names) > 1)
    )
    # Nothing but the very words: "two bodies" of three names is another form.
    return prompt if can_be and caption(prompt) == text else None
