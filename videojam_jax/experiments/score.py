"""One number for how well a clip moves, to compare rows by."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from videojam_jax.measure.measure import Measure
from videojam_jax.measure.physics import PHYSICS_MEASURES

# Of simulated clips, with captions of the simulator; those of them that say something of a clip.
PHYSICAL = ("permanence", "size_constancy", "shape_constancy", "limb_constancy", "legs_alternate",
            "steady_turn", "moves", "trajectory_error", "velocity_jumps")  # fmt: skip
# Of the flow of any other clip, weighted as VBench weighs its two dimensions of motion.
OF_FLOW = {"smoothness": 1.0, "dynamic_degree": 0.5}

SCORE = Measure(
    "motion score",
    "product of what applies to the caption's motion of body permanence, size, shape and limb "
    "constancy, legs alternate, steady turn, bodies move, 1 - trajectory error and 1 - velocity "
    "jumps; of clips that are not the simulator's, the mean of motion smoothness and half the "
    "dynamic degree",
    ideal=1.0,
    worst=0.0,
    unit="%",
)


def motion_score(
    values: Mapping[str, Float[np.ndarray, "seeds clips"]],
) -> Float[np.ndarray, "seeds clips"]:
    """The score of each clip, in [0, 1]; `SCORE` defines it.

    Each part is scaled from 0 at its worst to 1 at its ideal. They are multiplied, since a
    clip needs all of them: most parts are blind to most faults, and their mean would forgive
    any single one. A part that is not a number says nothing of the clip (legs that alternate,
    of a disc) and is left out, but for the trajectory error: a clip whose caption names no law
    has no score among those that have one. Which of the two scores is meant is one decision
    for all clips: the physical one where it says something of any.
    """
    if "trajectory_error" in values and np.isfinite(values["trajectory_error"]).any():
        score = np.where(np.isnan(values["trajectory_error"]), np.nan, 1.0)
        for name in PHYSICAL:
            measure = PHYSICS_MEASURES[name]
            part = (values[name] - measure.worst) / (measure.ideal - measure.worst)
            score = score * np.where(np.isnan(part), 1.0, part)
        return score
    weights = OF_FLOW.values()
    return sum(w * values[name] for name, w in OF_FLOW.items()) / sum(weights)
