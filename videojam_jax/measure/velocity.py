"""Two velocities at a pixel: how much of the motion do they disagree on?"""

import numpy as np
from jaxtyping import Float

# Velocities that differ by less than this, in pixels a frame, are the same as far as
# estimated flow can tell, whatever the size of the frame.
SLACK = 0.5


def speed(flow: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n"]:
    """Length of each velocity."""
    u, v = flow[..., 0], flow[..., 1]
    return np.sqrt(u * u + v * v)


def difference(
    apart: Float[np.ndarray, "*n"],
    faster: Float[np.ndarray, "*n"],
    relative_slack: float,
) -> tuple[Float[np.ndarray, "*n"], Float[np.ndarray, "*n"]]:
    """How much of a motion two velocities `a` and `b` disagree on, and how much there is.

    With the slack `e = SLACK + relative_slack * faster`,

        moves   = faster, but 0 where faster <= e (neither moves, as far as can be told)
        differs = moves * min(1, max(0, apart - e) / (faster - e))

    so `differs` is 0 for velocities that are the same within the slack, and all of
    `moves` where one moves and the other does not, or where they are farther apart.

    Args:
      apart: `|a - b|`, pixels a frame.
      faster: `max(|a|, |b|)`.
      relative_slack: the part of the faster velocity that is forgiven too; below 1.

    Returns:
      `(differs, moves)`, pixels a frame.
    """
    slack = np.float32(relative_slack) * faster + np.float32(SLACK)
    room = faster - slack
    moves = np.where(room > 0, faster, np.float32(0))
    part = np.clip((apart - slack) / np.maximum(room, np.float32(1e-6)), 0, 1)
    return moves * part, moves
