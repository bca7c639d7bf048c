"""Is what a clip shows possible? All measures of its bodies, from pixels and caption alone.

Bodies have to be large enough to be told from noise. Of true clips, means of 60 are within
2 % of the ideal for frames of 48 x 48 and more with up to three bodies, for 32 x 32 with one,
and for 16 x 16 with one disc or square; rings are too thin at 16 x 16, and of three bodies at
32 x 32 one clip in six holds one that is lost. Figures and wheels are for 40 x 40 and more.
"""

import functools
import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8

from videojam_jax.data.scenes import ALONE, OF_FIGURES
from videojam_jax.measure.conservation import contact_error, velocity_jumps
from videojam_jax.measure.constancy import shape_constancy, size_constancy
from videojam_jax.measure.gait import legs_alternate
from videojam_jax.measure.limbs import limb_constancy
from videojam_jax.measure.measure import Measure
from videojam_jax.measure.permanence import body_permanence
from videojam_jax.measure.prompt import Prompt, parse
from videojam_jax.measure.prompt_agreement import prompt_agreement
from videojam_jax.measure.shades import Shades, shades
from videojam_jax.measure.tracked import Tracked, track_bodies
from videojam_jax.measure.trajectory import fit_bodies, moves, trajectory_error
from videojam_jax.measure.turning import steady_turn

OVERLAP = 0.12  # of the logarithm of a figure's area: what its limbs hide of each other

PHYSICS_MEASURES: Mapping[str, Measure] = {
    "permanence": Measure(
        "body permanence",
        "share of the frames in which a body is seen, of those in which neither another body nor "
        "the border hides it",
        ideal=1.0,
        worst=0.0,
        unit="%",
    ),
    "size_constancy": Measure(
        "size constancy",
        "how nearly bodies keep their area: 1 within the tolerance, 0 at half or double, or where "
        "they are missing",
        ideal=1.0,
        worst=0.0,
        unit="%",
    ),
    "shape_constancy": Measure(
        "shape constancy",
        "how nearly bodies keep their aspect and radial profile, which a turn does not change",
        ideal=1.0,
        worst=0.0,
        unit="%",
    ),
    "limb_constancy": Measure(
        "limb constancy",
        "how nearly the limbs of a figure keep their lengths, whatever its pose: its reach, and "
        "the area of what is bright of it",
        ideal=1.0,
        worst=0.0,
        unit="%",
    ),
    "legs_alternate": Measure(
        "legs alternate",
        "how nearly the bright and the dark leg of a figure that walks or jogs take turns in "
        "front; 0 where it is the same leg each time",
        ideal=1.0,
        worst=0.0,
        unit="%",
    ),
    "steady_turn": Measure(
        "steady turn",
        "how nearly a wheel, or a figure that turns a cartwheel, turns in one direction at one "
        "rate; 0 where it does not turn",
        ideal=1.0,
        worst=0.0,
        unit="%",
    ),
    "moves": Measure(
        "bodies move",
        "share of the bodies that go 1/10 of the frame's side, times the share of steps in which "
        "one moves",
        ideal=1.0,
        worst=0.0,
        unit="%",
    ),
    "trajectory_error": Measure(
        "trajectory error",
        "root mean square distance of the bodies from the best way that the caption's law of "
        "motion allows, in sides of the frame; 1 where a body is missing or stands",
        ideal=0.0,
        worst=1.0,
    ),
    "velocity_jumps": Measure(
        "velocity jumps",
        "changes of velocity that neither the law of motion nor a contact explains, as a share of "
        "themselves and the way gone",
        ideal=0.0,
        worst=1.0,
    ),
    "contact_error": Measure(
        "energy and momentum at contacts",
        "energy gained, or momentum lost or gained, in a bounce or a collision, as a share; of "
        "clips whose captions tell of one",
        ideal=0.0,
        worst=1.0,
    ),
    "prompt_agreement": Measure(
        "prompt agreement",
        "share of what the caption says (number, colours, shapes, motion, direction, pan) that is "
        "so",
        ideal=1.0,
        worst=0.0,
        unit="%",
    ),
}


def physics_measures(video: UInt8[np.ndarray, "t h w 3"], caption: str) -> dict[str, float]:
    """All of `PHYSICS_MEASURES` of one clip; each function's docstring defines its own.

    Every clip has every number, and one without a body has the worst of each, but for what
    does not exist: with a caption that `data.describe` does not write, what depends on it is
    not a number. Nor is `contact_error` where the caption tells of no contact, `moves` of a
    wheel, `shape_constancy` of a figure, `limb_constancy` of anything else, `legs_alternate` of
    what neither walks nor jogs, `steady_turn` of what is neither a wheel nor a cartwheel.
    """
    tracked, prompt = track_bodies(video), parse(caption)
    figure = prompt is not None and prompt.kind in OF_FIGURES
    measured = dict.fromkeys(PHYSICS_MEASURES, math.nan)
    measured["permanence"] = body_permanence(tracked)
    measured["size_constancy"] = size_constancy(tracked, OVERLAP if figure else 0.0)
    if not figure:
        measured["shape_constancy"] = shape_constancy(tracked)
    if prompt is None or not prompt.stays:
        measured["moves"] = moves(tracked, len(prompt.names) if prompt else 0, figure)
    if prompt:
        pose = shades(video, tracked.bodies[0]) if tracked.bodies and prompt.kind in ALONE else None
        measured |= _of_poses(tracked, prompt, pose)
        fits = fit_bodies(tracked, prompt)
        measured["trajectory_error"] = trajectory_error(tracked, prompt, fits)
        measured["velocity_jumps"] = velocity_jumps(tracked, prompt, fits)
        measured["contact_error"] = contact_error(tracked, prompt, fits)
        measured["prompt_agreement"] = prompt_agreement(tracked, prompt, pose)
    return measured


def _of_poses(tracked: Tracked, prompt: Prompt, pose: Shades | None) -> dict[str, float]:
    """How the largest body holds itself, as far as the caption's motion asks for it."""
    measures = {}
    if prompt.kind in OF_FIGURES:
        measures["limb_constancy"] = functools.partial(
            limb_constancy, drawn_up=prompt.kind == "jump"
        )
    if prompt.kind in ("walk", "jog"):
        measures["legs_alternate"] = legs_alternate
    if prompt.kind in ("wheel", "cartwheel"):
        measures["steady_turn"] = steady_turn
    return {
        name: measure(pose, tracked.bodies[0]) if pose else 0.0
        for name, measure in measures.items()
    }
