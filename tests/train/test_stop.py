"""Signals where nothing is left to save: the process goes at once, in good order if it can."""

import os
import signal
import subprocess
import sys

import jax
import pytest
import tiny_run

from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.train.stop import Stop


@pytest.fixture
def mesh():
    return make_mesh({"data": -1}, jax.devices()[:1])


def test_between_steps_a_signal_only_asks(mesh):
    with Stop(mesh) as stop:
        assert stop.agreed() == (False, False) and stop.agreed(True) == (False, True)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.agreed() == (True, False)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_where_nothing_is_to_be_saved_it_ends_what_is_done_when_all_is_finished(mesh):
    finished = []
    with Stop(mesh) as stop:
        with pytest.raises(KeyboardInterrupt):
            with stop.at_once(lambda: finished.append("the last save")):
                os.kill(os.getpid(), signal.SIGTERM)
        assert finished == ["the last save"]
    with Stop(mesh) as stop:
        os.kill(os.getpid(), signal.SIGTERM)  # it came before
        with pytest.raises(KeyboardInterrupt):
            with stop.at_once():
                raise AssertionError("it is not begun")


STUCK = """
import hashlib, os, signal, threading, jax
from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.train import stop
stop.ORDERLY_SECONDS = 0.3
with stop.Stop(make_mesh({"data": -1})) as asked:
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with asked.at_once(lambda: print("the last save", flush=True)):
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # not in Python, as XLA is not
"""


def test_a_thread_ends_a_process_whose_main_thread_is_not_in_python():
    done = subprocess.run(
        [sys.executable, "-c", STUCK], env=tiny_run.environment(), capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 75, done
    assert done.stdout == "the last save\n"
    assert "stopped by a signal; what was finished is kept; run the same command" in done.stderr
