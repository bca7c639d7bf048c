"""One of several processes: prints a digest of each step's global batch.

    python global_batches.py FOLDER FIRST_STEP STEPS BATCH_SIZE MESH
"""

import hashlib
import json
import os
import sys

import jax
import numpy as np
from jax.experimental import multihost_utils

from videojam_jax.data import loader
from videojam_jax.parallel import distributed
from videojam_jax.parallel.batch import local_rows, to_global
from videojam_jax.parallel.launch import detect
from videojam_jax.parallel.mesh import make_mesh


def main(folder, first, steps, batch_size, sizes):
    distributed.start(detect(os.environ))
    mesh = make_mesh(sizes)
    rows = local_rows(mesh, batch_size)
    dataset = loader.open_dataset(folder)
    batches = loader.batches(
        dataset, seed=7, batch_size=batch_size, start_step=first, rows=rows, text_length=64
    )
    for step in range(first, first + steps):
        batch = to_global(mesh, next(batches), batch_size)
        whole = multihost_utils.process_allgather(batch, tiled=True)
        digest = hashlib.sha256()
        for array in jax.tree.leaves(whole):
            digest.update(np.ascontiguousarray(array).tobytes())
        print(step, len(rows), digest.hexdigest(), flush=True)
    if jax.process_count() > 1:
        distributed.leave()


if __name__ == "__main__":
    main(sys.argv[1], *map(json.loads, sys.argv[2:]))
