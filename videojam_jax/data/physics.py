"""Laws of motion: where a body is at the times asked for.

Lengths are pixels, times are frames, x points right and y points down. Angles
are radians, positive from x towards y, that is clockwise on the screen.
Everything is float64 and closed-form, but for the pendulum, which is
integrated.
"""

import math

import numpy as np
from jaxtyping import Float


def flight(
    start: Float[np.ndarray, "2"],
    velocity: Float[np.ndarray, "2"],
    gravity: float,
    times: Float[np.ndarray, "t"],
) -> tuple[Float[np.ndarray, "t 2"], Float[np.ndarray, "t 2"]]:
    """Free flight: `p = p0 + v0 t + (0, g) t^2 / 2`. Returns position, velocity."""
    pull = np.array([0.0, gravity])
    t = times[:, None]
    return start + velocity * t + 0.5 * pull * t**2, velocity + pull * t


def bouncing(
    height: float,
    speed: float,
    gravity: float,
    restitution: float,
    times: Float[np.ndarray, "t"],
) -> tuple[Float[np.ndarray, "t"], Float[np.ndarray, "t"]]:
    """Height above the ground, and upward speed, of a body that bounces on it.

    Between two contacts the flight is a parabola; a contact turns the speed
    round and multiplies it by `restitution`. A body whose next hop would stay
    below a thousandth of a pixel is at rest from then on.

    Args:
      height: at time 0, at least 0.
      speed: at time 0, upwards positive.
      gravity: above 0, in pixels a frame squared.
      restitution: from 0 to 1.
      times: at least 0, ascending.
    """
    heights, speeds = np.zeros_like(times), np.zeros_like(times)
    begin = 0.0
    resting = math.sqrt(2 * gravity * 1e-3)
    while True:
        landing = (speed + math.sqrt(speed**2 + 2 * gravity * height)) / gravity
        here = (times >= begin) & (times < begin + landing)
        t = times[here] - begin
        heights[here] = height + speed * t - 0.5 * gravity * t**2
        speeds[here] = speed - gravity * t
        begin += landing
        height, speed = 0.0, restitution * (gravity * landing - speed)
        if speed < resting or begin > times[-1]:
            return heights, speeds


def collision(
    masses: tuple[float, float],
    first: Float[np.ndarray, "2"],
    second: Float[np.ndarray, "2"],
    normal: Float[np.ndarray, "2"],
    restitution: float,
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """Velocities of two smooth bodies after they met.

    The impulse acts along `normal`, the unit vector from the first body to the
    second. Momentum is conserved; at `restitution` 1 so is kinetic energy. An
    infinite second mass is a wall.
    """
    closing = float(np.dot(first - second, normal))
    share = 1.0 if math.isinf(masses[1]) else masses[1] / (masses[0] + masses[1])
    change = (1 + restitution) * closing * normal
    return first - share * change, second + (1 - share) * change


def rolling_acceleration(gravity: float, slope: float, inertia: float) -> float:
    """Acceleration down a slope (radians) without slipping: `g sin(slope) / (1 + k)`.

    `inertia` is `k = I / (m r^2)`: 1/2 for a disc, `(1 + q^2) / 2` for a ring
    whose inner radius is `q` times the outer.
    """
    return gravity * math.sin(slope) / (1 + inertia)


def rolling(
    speed: float, acceleration: float, radius: float, times: Float[np.ndarray, "t"]
) -> tuple[Float[np.ndarray, "t"], Float[np.ndarray, "t"], Float[np.ndarray, "t"]]:
    """Way along the ground, speed and angle of a body that rolls without slipping.

    `angle = way / radius`: the touching point stands still. A body that goes
    right turns clockwise, which is the positive sense here.
    """
    way = speed * times + 0.5 * acceleration * times**2
    return way, speed + acceleration * times, way / radius


def pendulum(
    angle: float,
    rate: float,
    gravity: float,
    length: float,
    times: Float[np.ndarray, "t"],
    substeps: int = 8,
) -> tuple[Float[np.ndarray, "t"], Float[np.ndarray, "t"]]:
    """Angle from the vertical, and its rate, of a point mass on a massless rod.

    Integrates `angle'' = -(g / l) sin(angle)` with `substeps` classical
    Runge-Kutta steps from one time to the next. The energy
    `rate^2 / 2 - (g / l) cos(angle)` drifts by less than 1e-5 of its swing for
    periods above ten frames.
    """
    stiffness = gravity / length
    angles, rates = np.empty_like(times), np.empty_like(times)
    now = 0.0
    for i, until in enumerate(times):
        step = (until - now) / substeps
        for _ in range(substeps if step else 0):
            a1 = -stiffness * math.sin(angle)
            r2 = rate + 0.5 * step * a1
            a2 = -stiffness * math.sin(angle + 0.5 * step * rate)
            r3 = rate + 0.5 * step * a2
            a3 = -stiffness * math.sin(angle + 0.5 * step * r2)
            r4 = rate + step * a3
            a4 = -stiffness * math.sin(angle + step * r3)
            angle += step / 6 * (rate + 2 * r2 + 2 * r3 + r4)
            rate += step / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
        now = until
        angles[i], rates[i] = angle, rate
    return angles, rates
