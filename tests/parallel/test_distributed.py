"""What the processes of a run say to one another, and how they notice that one is gone."""

import jax
import numpy as np
import pytest

from videojam_jax.parallel import distributed
from videojam_jax.parallel.launch import detect
from videojam_jax.parallel.mesh import make_mesh


def test_one_process_says_its_words_to_itself():
    with jax.transfer_guard("disallow"):
        distributed.start(detect({}))
        distributed.barrier("here")
        assert distributed.leader() and not distributed.joined()
        assert distributed.broadcast_text("ein Würfel") == "ein Würfel"
        np.testing.assert_array_equal(distributed.gather(np.arange(3)), [[0, 1, 2]])


def test_an_agreement_tells_of_a_yes_two_calls_later():
    with jax.transfer_guard("disallow"):
        agreement = distributed.Agreement(make_mesh({"data": 2, "fsdp": -1}), questions=2)
        asked = [False, False, True, False, False, False]
        heard = [agreement.any(mine, not mine) for mine in asked]
        assert [first for first, _ in heard] == [False] * 4 + [True, False]
        assert [second for _, second in heard] == [False] * 2 + [True] * 2 + [False, True]


def test_an_error_counts_as_the_loss_of_a_process_among_several_alone(monkeypatch):
    lost = [
        "UNKNOWN: Gloo all-reduce failed: Connection reset by peer",
        "INTERNAL: NCCL operation ncclAllReduce failed: remote process exited",
        "DEADLINE_EXCEEDED: Barrier timed out",
        "UNAVAILABLE: the coordination service is gone",
    ]
    own = ["RESOURCE_EXHAUSTED: out of memory allocating 3 GiB", "INVALID_ARGUMENT: globally no"]
    assert not any(distributed.peer_lost(RuntimeError(text)) for text in lost)
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    assert all(distributed.peer_lost(RuntimeError(text)) for text in lost)
    assert not any(distributed.peer_lost(RuntimeError(text)) for text in own)


@pytest.mark.multiprocess
def test_words_between_three_processes(tmp_path):
    import sys

    import tiny_run

    script = tmp_path / "words.py"
    script.write_text(
        """
import os, jax, numpy as np
from videojam_jax.parallel import distributed
from videojam_jax.parallel.launch import detect
from videojam_jax.parallel.mesh import make_mesh
launch = detect(os.environ)
distributed.start(launch)
jax.config.update("jax_transfer_guard", "disallow")
me = jax.process_index()
assert (me, jax.process_count()) == (launch.process, 3), "numbered as launched"
assert distributed.leader() == (me == 0)
for text in ("ein Würfel", ""):
    assert distributed.broadcast_text(text if me == 0 else None) == text
np.testing.assert_array_equal(distributed.gather(np.array([me, 7])), [[0, 7], [1, 7], [2, 7]])
np.testing.assert_array_equal(distributed.gather(np.float32(me)), [0, 1, 2])
agreement = distributed.Agreement(make_mesh({"data": 3, "fsdp": -1}))
heard = [agreement.any(me == 2 and call == 1)[0] for call in range(5)]
assert heard == [False, False, False, True, False], heard
distributed.barrier("done")
distributed.leave()
print("all said")
"""
    )
    ended = tiny_run.ends(tiny_run.start_together(3, [sys.executable, str(script)], devices=2))
    assert [status for status, _ in ended] == [0, 0, 0], ended
    assert all("all said" in said for _, said in ended)
