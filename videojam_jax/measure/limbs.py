"""Do the limbs of a figure keep their lengths?"""

import numpy as np
from jaxtyping import Float

from videojam_jax.data.figures import FAR, MIDDLE, NEAR
from videojam_jax.measure.shades import Shades
from videojam_jax.measure.tracked import HIDDEN, Body

SHARE = 0.9  # visible share of a figure whose limbs are judged
REACH = 0.97  # share of its cover that lies within its reach
# Tolerances, and what beyond them is the worst, of logarithms of: the reach of a figure, and of
# one that draws its legs up; the cover of near limbs; the cover weighted by brightness.
TOLERANCES = {"reach": 0.05, "drawn up": 0.12, "near": 0.12, "light": 0.09}
WORST = {"reach": 0.12, "near": 0.25, "light": 0.2}


def limb_constancy(shades: Shades, body: Body, drawn_up: bool = False) -> float:
    """How nearly a figure keeps what a pose does not change of its limbs.

    Of each frame three numbers, whose logarithms are compared with their medians: the radius
    about the figure's middle that holds 97 % of it, since some limb is stretched in every pose;
    the area of the near limbs, which are bright and which nothing hides; and the area of all
    that is brighter than the far limbs, each pixel as much as it is brighter. Each is 1 within
    its tolerance (5, 12 and 9 %; the radius of a figure that draws up its legs: 12 %) and 0
    from 0.12, 0.25 and 0.2 beyond it; the least of the three counts. Mean over the frames that
    show at least 90 % of the figure, or else those that show most of it; a frame in which it
    lacks counts 0.

    From 0 to 1; 1 is ideal. It sees limbs that grow and shrink, deform and vanish. It is blind
    to how the figure moves: jitter, freeze, reverse and shuffle, and teleport as long as it is
    in sight; and to far limbs, which may be hidden, as long as they reach no further than the
    others.
    """
    second = np.sort(np.where(body.seen, body.share, 0))[-2:][0]
    used = np.flatnonzero(body.seen & (body.share >= np.clip(second, HIDDEN, SHARE)))
    if len(used) < 2:
        return 0.0
    _, light = shades.parts(FAR, NEAR)
    shade = shades.bright / np.maximum(shades.cover, 1e-6)
    near = shades.cover * np.clip((shade - MIDDLE) / (NEAR - MIDDLE), 0, 1)
    sizes = {
        "reach": np.array([_reach(shades.cover[i], body.centre[i]) for i in used]),
        "near": near[used].sum((1, 2)),
        "light": light[used].sum((1, 2)),
    }
    scores = []
    for name, size in sizes.items():
        change = np.log(np.maximum(size, 1e-3))
        change = np.abs(change - np.median(change))
        tolerance = TOLERANCES["drawn up" if drawn_up and name == "reach" else name]
        scores.append(np.clip(1 - (change - tolerance) / WORST[name], 0, 1))
    missing = int(body.missing.sum())
    return float(np.min(scores, 0).sum() / (len(used) + missing))


def _reach(cover: Float[np.ndarray, "h w"], centre: Float[np.ndarray, "2"]) -> float:
    """The radius that holds `REACH` of the cover."""
    rows, columns = np.nonzero(cover)
    radius = np.hypot(columns - centre[0], rows - centre[1])
    order = np.argsort(radius)
    part = cover[rows, columns][order]
    within = np.cumsum(part) - 0.5 * part
    return float(np.interp(REACH * part.sum(), within, radius[order])) if len(part) else 0.0
