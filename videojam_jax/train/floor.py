"""The linear floors of a run's losses, from a part of its prepared clips (`diffusion/floor.py`)."""

import concurrent.futures
import math

import numpy as np

from videojam_jax.data.loader import Dataset
from videojam_jax.diffusion.floor import appearance_floor, motion_floor, principal_variances
from videojam_jax.diffusion.loss import LossOptions
from videojam_jax.models.joint import patchify

# What is read, for a run of any size: of large clips as many as a batch of them, in seconds.
MOST_CLIPS = 2048
MOST_BYTES = 2**28  # of latents
MOST_TOKENS = 2**15  # of each half
MOST_NUMBERS = 2**25  # in these tokens
_READERS = 16  # threads


def floors(
    dataset: Dataset, patch: tuple[int, int, int], motion: bool, options: LossOptions
) -> dict[str, float]:
    """`appearance_floor`, and with motion `motion_floor`: in the units of the losses.

    Of clips spread evenly over the data and tokens drawn from them, the same in every process. As
    they are a few hundred clips or more, a floor is known to about 3 %.

    Raises:
      UserError: a clip cannot be read.
    """
    t, h, w, c = dataset.latent_shape
    features = c * math.prod(patch)
    in_a_clip = t * h * w * c // features
    # Two latents of a clip, two bytes a number.
    clips = min(len(dataset), MOST_CLIPS, max(1, MOST_BYTES // (4 * t * h * w * c)))
    wanted = min(MOST_TOKENS, MOST_NUMBERS // features)
    each = min(in_a_clip, math.ceil(wanted / clips))

    of_half = {"appearance": ("video", appearance_floor)}
    if motion:
        of_half["motion"] = ("motion", motion_floor)
    rng = np.random.default_rng(0)
    chosen = [rng.choice(in_a_clip, each, replace=False) for _ in range(clips)]

    def tokens(clip: int, chosen: np.ndarray) -> dict[str, np.ndarray]:
        record, found = dataset[clip], {}
        for half, (name, _) in of_half.items():
            latent = record[name].astype(np.float32)
            found[half] = patchify(latent[None], patch)[0, chosen]
        return found

    numbers = np.linspace(0, len(dataset) - 1, clips).round().astype(int).tolist()
    # In threads, as each may lie in a shard of its own, which a bucket takes its time to open.
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(tokens, numbers, chosen))
    return {
        f"{half}_floor": floor(
            principal_variances(np.concatenate([one[half] for one in found])), options
        )
        for half, (_, floor) in of_half.items()
    }
