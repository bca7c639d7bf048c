"""A caption from what is true of a simulated clip."""

from videojam_jax.data.scenes import DIRECTED
from videojam_jax.data.stage import Body, Scene

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# How each kind is said of one body and of several.
VERBS = {
    "fall": ("falls", "fall"),
    "bounce": ("bounces on the ground", "bounce on the ground"),
    "roll": ("rolls", "roll"),
    "swing": ("swings on a rod", "swing on rods"),
    "spin": ("spins and drifts", "spin and drift"),
    "wheel": ("turns", "turn"),
    "walk": ("walks", "walk"),
    "jog": ("jogs", "jog"),
    "jump": ("jumps", "jump"),
    "cartwheel": ("turns a cartwheel", "turn cartwheels"),
}
SENSES = {1: "clockwise", -1: "counter-clockwise"}  # of a wheel, on the screen


def name(body: Body) -> str:
    """Article, colour and shape: "an orange disc"."""
    article = "an" if body.colour[0] in "aeiou" else "a"
    return f"{article} {body.colour} {body.shape.name}"


def listing(names: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _action(scene: Scene) -> str:
    names = [name(body) for body in scene.bodies]
    if scene.kind == "collide":
        return f"{names[0]} hits {names[1] if len(names) > 1 else 'a wall'}"
    one, many = VERBS[scene.kind]
    where = ""
    if scene.kind == "wheel":
        where = f" {SENSES[int(scene.laws['direction'])]}"
    elif scene.kind in DIRECTED:
        where = " down a slope" if scene.laws.get("slope") else ""
        where += " to the right" if scene.laws["direction"] > 0 else " to the left"
    if len(names) == 1:
        return f"{names[0]} {one}{where}"
    count = NUMBERS[len(names)] if len(names) < len(NUMBERS) else str(len(names))
    return f"{count} bodies {many}{where}: {listing(names)}"


def describe(scene: Scene) -> str:
    """The number, colours, shapes and motion of the bodies, and the camera's pan.

    For instance "two bodies fall: a red disc and a blue square, the camera pans
    left".
    """
    x, y = scene.camera[-1] - scene.camera[0]
    caption = _action(scene)
    if x or y:
        way = ("right" if x > 0 else "left") if x else ("down" if y > 0 else "up")
        caption += f", the camera pans {way}"
    return caption
