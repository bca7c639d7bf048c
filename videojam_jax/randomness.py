"""Where a seed becomes keys: one for each purpose, so that no two draws are the same numbers.

`split(key, 2)[0]` is `split(key, 4)[0]`, and `fold_in(key, 7)` is the same for step 7 and for
clip 7. Were training and sampling to start from `key(seed)`, the noise that clip 7 grows from
would be that of step 7 of its own training, bit for bit. Everything random that JAX draws in
the package therefore comes from `key_for`; what NumPy draws (the order of clips, their crops,
random weights of frozen models) has generators of its own.
"""

import jax
from jaxtyping import Array, Integer, PRNGKeyArray

# A number never changes and is never used again: saved runs go on with it.
PURPOSES = {
    "parameters": 1,  # what a run starts from
    "training": 2,  # a step's noise, times and dropped conditions
    "autoencoder_training": 3,  # a step's noise of the latents
    "sampling": 4,  # the noise that clips start from
    "permutation": 5,  # the noise of the frame permutation experiment
    "losses_over_t": 6,  # the noise of held-out clips whose losses are measured over t
}


def key_for(purpose: str, seed: int | Integer[Array, ""]) -> PRNGKeyArray:
    """The key of one purpose, `fold_in(key(seed), number)`; KeyError for one not in `PURPOSES`."""
    return jax.random.fold_in(jax.random.key(seed), PURPOSES[purpose])
