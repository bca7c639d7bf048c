"""`bench data` measures what it says, on a small scale."""

import os

import pytest

from videojam_jax.bench import data
from videojam_jax.errors import UserError


def test_rows_name_what_was_measured_and_the_core_is_given_back():
    cores = os.sched_getaffinity(0)
    rows = data.bench_data(frames=4, height=16, width=16, seconds=0.05, clips=24, batch_size=8)
    assert [row["name"].split()[0] for row in rows] == ["simulate", "prepare", "load"]
    assert all(row["clips_per_s"] > 0 for row in rows), rows
    assert os.sched_getaffinity(0) == cores


def test_a_single_batch_is_too_little_to_measure():
    with pytest.raises(UserError, match="clips = 8 must be more than one batch of 8"):
        data.bench_data(frames=4, height=16, width=16, seconds=0.01, clips=8, batch_size=8)
