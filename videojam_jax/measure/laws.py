"""The law of motion that a caption names, fitted to the ways of the bodies in a clip.

Every law is linear in most of its constants once one to three others are given (when a
body lands, how long a pendulum swings). So a fit is a search over a grid of those, with
the least squares of the rest solved for each, and then again around the best with finer and
finer grids: no start values, no chance, the same result each time. Lengths are pixels,
times frames, y points down. The camera may pan at a constant speed along the axis that the
caption names. All laws stand in one file: each is a few lines beside the search they share.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import ellipj, ellipk

from videojam_jax.measure.prompt import Prompt

# By how much a grid's steps shrink where its middle is the best, how much they grow where it
# is not, and how many grids there are.
FINER, WIDER, ROUNDS = 0.5, 1.5, 30
STARTS = 6  # places on the first grid, the best ones, around which the finer ones lie
SWINGS = np.radians([8, 18, 28, 38, 48, 58, 70])  # amplitudes to begin with
# What a figure's steps may be in an event, and what it may come down on of hands and feet.
STEPS, HANDS = (1.5, 2.8), (1.2, 2.2)
GAINS = np.array([0.3, 0.5, 0.65, 0.8, 0.9, 1.0, 1.12, 1.25, 1.4, 1.6])  # restitutions


@dataclasses.dataclass(frozen=True)
class Fit:
    """A body's way by its law.

    Attributes:
      path: its places in all frames.
      error: root of the weighted mean squared distance from it, pixels.
      contact: when it first meets the ground, a wall or the other body, or None.
      before, after: velocities about a collision.
      gain: after a bounce, the speed over that before it, when energy may be gained; None
        where no bounce is seen.
    """

    path: Float[np.ndarray, "t 2"]
    error: float
    contact: float | None = None
    before: Float[np.ndarray, "2"] | None = None
    after: Float[np.ndarray, "2"] | None = None
    gain: float | None = None


@dataclasses.dataclass(frozen=True)
class Way:
    """Where a body is in each frame, and how much each counts (0: not at all)."""

    places: Float[np.ndarray, "t 2"]
    weight: Float[np.ndarray, "t"]

    @property
    def times(self) -> Float[np.ndarray, "t"]:
        return np.arange(len(self.weight), dtype=float)

    def fit(self, path: Float[np.ndarray, "t 2"], **facts) -> Fit:
        away = ((self.places - path) ** 2).sum(-1)
        mean = (self.weight * away).sum() / max(self.weight.sum(), 1e-12)
        return Fit(path, float(np.sqrt(mean)), **facts)


Basis = Callable[[Float[np.ndarray, "n p"]], Float[np.ndarray, "n m q"]]


def solve(
    basis: Float[np.ndarray, "n m q"],
    values: Float[np.ndarray, "m"],
    weight: Float[np.ndarray, "m"],
    positive: Sequence[int] = (),
) -> tuple[Float[np.ndarray, "n q"], Float[np.ndarray, "n"]]:
    """Weighted least squares for each of `n` bases: coefficients, sum of squares.

    Where a coefficient that must be `positive` is not, the sum is infinite.
    """
    weighted = basis * weight[:, None]
    normal = weighted.swapaxes(1, 2) @ basis
    # A trace of a ridge: columns may be alike (a pan along the way of a rolling body).
    scale = np.trace(normal, axis1=1, axis2=2)[:, None, None] + 1e-12
    normal = normal + 1e-10 * scale * np.eye(basis.shape[2])
    right = values @ weighted
    coefficients = np.linalg.solve(normal, right[..., None])[..., 0]
    away = values - (basis @ coefficients[..., None])[..., 0]
    cost = (weight * away**2).sum(-1)
    for i in positive:
        cost = np.where(coefficients[:, i] > 0, cost, np.inf)
    return coefficients, cost


def search(
    basis: Basis,
    grids: Sequence[Float[np.ndarray, "_"]],
    values: Float[np.ndarray, "m"],
    weight: Float[np.ndarray, "m"],
    positive: Sequence[int] = (),
    limits: Sequence[tuple[float, float]] | None = None,
) -> tuple[Float[np.ndarray, "p"], Float[np.ndarray, "q"], float]:
    """The constants of the least sum of squares: those of the grid, the linear ones, the sum.

    Args:
      basis: from `n` sets of grid constants to the columns that the values are a sum of.
      grids: values of each constant to begin with, ascending.
      values, weight: what is fitted.
      positive: which linear constants must be above 0.
      limits: of each grid constant; the ends of its grid if not given.
    """
    limits = limits or [(grid[0], grid[-1]) for grid in grids]
    low, high = np.array(limits, float).T
    trial = np.stack([axis.ravel() for axis in np.meshgrid(*grids, indexing="ij")], -1)
    step = np.array([np.diff(grid).max() if len(grid) > 1 else 0.0 for grid in grids])
    # The middle comes first, so that of equals it is the best.
    near = np.array(list(itertools.product((0, -1, 1), repeat=len(grids))), float)
    coefficients, cost = solve(basis(trial), values, weight, positive)
    starts = trial[np.argsort(cost, kind="stable")[:STARTS]]
    steps = np.tile(step * FINER, (len(starts), 1))
    count, rows = len(near), len(near) * np.arange(len(starts))
    for _ in range(ROUNDS):
        trial = np.clip(starts[:, None] + near * steps[:, None], low, high).reshape(-1, len(low))
        coefficients, cost = solve(basis(trial), values, weight, positive)
        # The middle of each grid is its start, so that no round is worse than the last.
        best = rows + cost.reshape(-1, count).argmin(1)
        # Not finer in any case: a valley may be narrow and winding, and the way down it long.
        steps = steps * np.where((trial[best] == starts).all(1), FINER, WIDER)[:, None]
        starts = trial[best]
    at = int(best[np.argmin(cost[best])])
    return trial[at], coefficients[at], float(cost[at])


def _line(way: Way, columns: Float[np.ndarray, "m q"], axis: int) -> Float[np.ndarray, "m"]:
    """The sum of the columns nearest to one coordinate."""
    coefficients, _ = solve(columns[None], way.places[:, axis], way.weight)
    return columns @ coefficients[0]


def straight(way: Way) -> Fit:
    """Constant velocity, for bodies that drift: `p = p0 + v t`."""
    columns = np.stack([np.ones_like(way.times), way.times], -1)
    return way.fit(np.stack([_line(way, columns, axis) for axis in range(2)], -1))


def falling(way: Way) -> Fit:
    """Free flight: `x = x0 + u t`, `y = y0 + v t + g t^2 / 2`, gravity g at least 0.

    A pan is a part of u and v. Time may run backwards: a body thrown up obeys it too.
    """
    columns = np.stack([np.ones_like(way.times), way.times], -1)
    curved = np.concatenate([columns, 0.5 * way.times[:, None] ** 2], -1)
    coefficients, _ = solve(curved[None], way.places[:, 1], way.weight)
    down = curved @ coefficients[0] if coefficients[0, 2] > 0 else _line(way, columns, 1)
    return way.fit(np.stack([_line(way, columns, 0), down], -1))


def hops(
    landing: Float[np.ndarray, "n"],
    fall: Float[np.ndarray, "n"],
    restitution: Float[np.ndarray, "n"],
    times: Float[np.ndarray, "t"],
) -> Float[np.ndarray, "n t"]:
    """Height over gravity of a body that first lands at `landing` with speed `gravity * fall`.

    Each contact multiplies its speed by `restitution`; from the 20th on it rests.
    """
    before = landing[:, None] - times
    heights = np.where(before > 0, before * (fall[:, None] - before / 2), 0.0)
    begin, up = landing, fall * restitution
    for _ in range(20):
        after = times - begin[:, None]
        here = (after > 0) & (after < 2 * up[:, None])
        heights = np.where(here, after * (up[:, None] - after / 2), heights)
        begin, up = begin + 2 * up, up * restitution
        if (begin > times[-1]).all():
            break
    return heights


def bouncing(way: Way, pan: tuple[int, int] = (0, 0)) -> Fit:
    """Parabolas between contacts with level ground, restitution at most 1.

    `x = x0 + u t`; `y = rest - g h(t)`, where `h` are the `hops` of the time of the first
    landing, of its speed over gravity and of the restitution. Time may not run backwards
    where a contact takes energy. `gain` is the restitution of the best fit when it may be
    as much as 1.6; None when no contact, or less than a frame after it, is seen.
    """
    times, last = way.times, way.times[-1]
    down, weight = way.places[:, 1], way.weight
    shared = [np.ones_like(times)] + ([times] if pan[1] else [])

    def basis(constants: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n t q"]:
        landing, early, restitution = constants.T
        height = -hops(landing, landing * early, restitution, times)
        rest = [np.broadcast_to(column, height.shape) for column in shared]
        return np.stack([height, *rest], -1)

    landings = np.linspace(0.15, 1.25, min(2 * len(times), 40)) * max(last, 1.0)
    # The speed of landing over gravity, as a multiple of the time to it: 1 from rest, less
    # when thrown up, more when thrown down; below 1/2 it would start under the ground.
    early = np.array([0.52, 0.65, 0.8, 0.95, 1.1, 1.3, 1.7, 2.5])
    limits = [(0.02 * last, 1.5 * last), (0.5, 4.0), (0.0, 1.0)]
    lawful = search(basis, (landings, early, GAINS[GAINS <= 1]), down, weight, (0,), limits)
    freely = search(
        basis, (landings, early, GAINS[GAINS > 1]), down, weight, (0,), [*limits[:2], (1.0, 1.6)]
    )
    columns = np.stack([np.ones_like(times), times], -1)
    across = _line(way, columns, 0)
    if not math.isfinite(lawful[2]):
        return way.fit(np.stack([across, _line(way, columns, 1)], -1))
    path = np.stack([across, basis(lawful[0][None])[0] @ lawful[1]], -1)
    best = lawful if lawful[2] <= freely[2] else freely
    seen = best[0][0] < times[weight > 0][-1] - 1
    return way.fit(
        path,
        contact=float(lawful[0][0]) if lawful[0][0] < last else None,
        gain=float(best[0][2]) if seen else None,
    )


def rolling(
    way: Way, direction: int, slope: bool, pan: tuple[int, int] = (0, 0)
) -> Fit:
    """Along a line: level at constant speed, or down a slope with constant acceleration.

    `p = p0 + (cos f, sin f) (v t + a t^2 / 2)`, where the slope f goes down in the direction
    of the caption by up to 45 degrees and a is at least 0; both are 0 on level ground. Time
    may run backwards: a body that rolls uphill, ever slower, obeys it too.
    """
    if not slope:
        return _level(way, pan)
    times, values, weight = way.times, way.places.T.ravel(), np.tile(way.weight, 2)

    def basis(constants: Float[np.ndarray, "n 1"], curved: bool = True):
        angle = constants[:, 0]
        ways = np.stack([direction * np.cos(angle), np.sin(angle)], -1)[..., None]
        along = [0.5 * times**2, times] if curved else [times]
        columns = [(ways * way).reshape(len(angle), -1) for way in along]
        columns += [np.broadcast_to(c, columns[0].shape) for c in _shared(times, pan)]
        return np.stack(columns, -1)

    angles = np.radians(np.linspace(0, 45, 19))
    angle, coefficients, cost = search(basis, (angles,), values, weight, (0,))
    straight, linear, other = search(lambda c: basis(c, False), (angles,), values, weight)
    if cost < other:
        path = basis(angle[None])[0] @ coefficients
    else:
        path = basis(straight[None], False)[0] @ linear
    return way.fit(path.reshape(2, -1).T)


def _shared(times: Float[np.ndarray, "t"], pan: tuple[int, int]) -> list[Float[np.ndarray, "m"]]:
    """Columns of a start `(x, y)` and of a pan, for the coordinates one after the other."""
    zeros, ones = np.zeros_like(times), np.ones_like(times)
    columns = [np.concatenate([ones, zeros]), np.concatenate([zeros, ones])]
    if pan[0] or pan[1]:
        columns.append(np.concatenate([abs(pan[0]) * times, abs(pan[1]) * times]))
    return columns


def _level(way: Way, pan: tuple[int, int]) -> Fit:
    columns = np.stack([np.ones_like(way.times), way.times], -1)
    down = _line(way, columns if pan[1] else columns[:, :1], 1)
    return way.fit(np.stack([_line(way, columns, 0), down], -1))


def pendulum_angles(
    amplitude: Float[np.ndarray, "n"],
    period: Float[np.ndarray, "n"],
    phase: Float[np.ndarray, "n"],
    times: Float[np.ndarray, "t"],
) -> Float[np.ndarray, "n t"]:
    """Angle of a pendulum: `2 asin(k sn(4 K(k) (t / period + phase)))`, `k = sin(amplitude / 2)`.

    The exact solution of `angle'' = -(g / l) sin(angle)`, in Jacobi's elliptic function; the
    period is `4 K(k) sqrt(l / g)`.
    """
    k = np.sin(amplitude / 2)[:, None]
    turns = times / period[:, None] + phase[:, None]
    sine, *_ = ellipj(4 * ellipk(k**2) * turns, k**2)
    return 2 * np.arcsin(k * sine)


def swinging(way: Way, pan: tuple[int, int] = (0, 0)) -> Fit:
    """A pendulum: a rod of one length about a pivot that stands, or moves with the pan.

    Searched over its amplitude (up to 85 degrees), its period (from 0.8 to 5 times the
    clip's length, of at most 24 frames) and its phase. Time may run backwards.
    """
    times, values, weight = way.times, way.places.T.ravel(), np.tile(way.weight, 2)

    def basis(constants: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n m q"]:
        # The phase in mid clip hardly depends on the period, so that each is found by itself.
        angle = pendulum_angles(*constants.T, times - times[-1] / 2)
        rod = np.concatenate([np.sin(angle), np.cos(angle)], 1)
        columns = [rod, *(np.broadcast_to(c, rod.shape) for c in _shared(times, pan))]
        return np.stack(columns, -1)

    event = max(min(times[-1], 24.0), 1.0)
    periods = event * np.geomspace(1.0, 4.5, 8)
    limits = [(np.radians(2), np.radians(85)), (0.8 * event, 5 * event), (-1.0, 2.0)]
    grids = (SWINGS, periods, np.arange(16) / 16)
    constants, coefficients, cost = search(basis, grids, values, weight, (0,), limits)
    if not math.isfinite(cost):
        return straight(way)
    return way.fit((basis(constants[None])[0] @ coefficients).reshape(2, -1).T)


def colliding(ways: Sequence[Way]) -> list[Fit]:
    """Constant velocities, which change at one instant that all bodies share.

    `p = p0 + v min(t - m, 0) + w max(t - m, 0)` with the meeting m inside the clip. A pan is
    a part of v and w. Whether momentum is kept is not asked here. Time may run backwards.
    """
    times = ways[0].times
    last = times[-1]

    def basis(constants: Float[np.ndarray, "n 1"]) -> Float[np.ndarray, "n t 3"]:
        t = times - constants
        return np.stack([np.ones_like(t), np.minimum(t, 0), np.maximum(t, 0)], -1)

    def costs(meetings: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        columns = basis(meetings[:, None])
        return sum(
            solve(columns, way.places[:, axis], way.weight)[1] for way in ways for axis in range(2)
        )

    trial = np.linspace(0.1, 0.9, 41) * last
    step = trial[1] - trial[0] if last else 0.0
    for _ in range(ROUNDS // 2):
        meeting = trial[int(np.argmin(costs(trial)))]
        step *= FINER
        trial = np.clip(meeting + step * np.arange(-2, 3), 0.1 * last, 0.9 * last)
    columns = basis(np.array([[meeting]]))
    fits = []
    for way in ways:
        constants = np.stack(
            [solve(columns, way.places[:, axis], way.weight)[0][0] for axis in range(2)], -1
        )
        fits.append(
            way.fit(
                columns[0] @ constants,
                contact=float(meeting),
                before=constants[1],
                after=constants[2],
            )
        )
    return fits


def standing(way: Way, pan: tuple[int, int] = (0, 0)) -> Fit:
    """One place, for the axle of a wheel; it moves with the pan."""
    columns = np.stack([np.ones_like(way.times), way.times], -1)
    places = [_line(way, columns if pan[axis] else columns[:, :1], axis) for axis in range(2)]
    return way.fit(np.stack(places, -1))


def going(way: Way, rates: tuple[float, float]) -> Fit:
    """Level ground at constant speed, for the middle of a figure, which bobs with each step.

    `x = x0 + v t + b(t)`, `y = y0 + c(t)`: b and c are waves of the steps' rate and of twice
    it. They are cut to a quarter of the way of one step, so that a figure that stands does not
    bob either. A pan is a part of v. Time may run backwards.

    Args:
      way: of the middle.
      rates: the least and the greatest number of steps in the frames of an event.
    """
    times, event = way.times, max(min(way.times[-1], 24.0), 1.0)
    angle = 2 * np.pi / event * np.arange(rates[0], rates[1] + 0.05, 0.05)[:, None]
    angle = angle * (times - times[-1] / 2)
    bob = np.stack([np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)], -1)
    ones = np.ones_like(angle)
    across = np.concatenate([np.stack([ones, ones * times], -1), bob], -1)
    down = np.concatenate([ones[..., None], bob], -1)
    x, away_x = solve(across, way.places[:, 0], way.weight)
    y, away_y = solve(down, way.places[:, 1], way.weight)
    best = int(np.argmin(away_x + away_y))
    waves = np.stack([bob[best] @ x[best, 2:], bob[best] @ y[best, 1:]], -1)
    step = abs(x[best, 1]) * event / (rates[0] + 0.05 * best)
    waves *= min(1.0, 0.25 * step / max(float(np.abs(waves).max()), 1e-9))
    path = np.stack([across[best][:, :2] @ x[best, :2], np.full_like(times, y[best, 0])], -1)
    return way.fit(path + waves)


def leaping(way: Way) -> Fit:
    """A jump, for the middle of a figure: it stands, flies on a parabola, and stands.

    Searched over the times of leaving the ground and of landing. On the ground it may dip once
    before and once after, in the air it goes along at constant speed; the same dips and the
    swing of the limbs in the air may shift the middle along. A pan is a part of the way in the
    air. Time may run backwards.
    """
    times, event = way.times, max(min(way.times[-1], 24.0), 1.0)

    def basis(constants: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n t q"]:
        off, landing = constants.T[..., None]
        air = np.clip((times - off) / np.maximum(landing - off, 1.0), 0, 1)
        before = np.sin(np.pi * np.clip(times / np.maximum(off, 1e-3), 0, 1))
        after = np.sin(np.pi * np.clip((times - landing) / (0.2 * event), 0, 1))
        return np.stack([-4 * air * (1 - air), before, after, np.ones_like(air), air], -1)

    grids = (np.linspace(0.1, 0.4, 9) * event, np.linspace(0.6, 0.95, 9) * event)
    constants, coefficients, _ = search(
        lambda c: basis(c)[..., :4], grids, way.places[:, 1], way.weight, (0,)
    )
    columns = basis(constants[None])[0]
    swing = np.sin(np.pi * columns[:, 4:]) ** 2
    across = np.concatenate([columns[:, 1:], swing], -1)
    return way.fit(np.stack([_line(way, across, 0), columns[:, :4] @ coefficients], -1))


def fit_law(prompt: Prompt, ways: Sequence[Way]) -> list[Fit]:
    """Each way by the law of the prompt's kind; bodies that collide are fitted together."""
    match prompt.kind:
        case "fall":
            return [falling(way) for way in ways]
        case "bounce":
            return [bouncing(way, prompt.pan) for way in ways]
        case "roll":
            return [rolling(way, prompt.direction, prompt.slope, prompt.pan) for way in ways]
        case "swing":
            return [swinging(way, prompt.pan) for way in ways]
        case "collide":
            return colliding(ways) if ways else []
        case "wheel":
            return [standing(way, prompt.pan) for way in ways]
        case "walk" | "jog":
            return [going(way, STEPS) for way in ways]
        case "cartwheel":
            return [going(way, HANDS) for way in ways]
        case "jump":
            return [leaping(way) for way in ways]
        case _:
            return [straight(way) for way in ways]
