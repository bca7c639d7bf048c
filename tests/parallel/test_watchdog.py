"""A process that no longer gets on ends, and says where it stood."""

import subprocess
import sys
import time

import tiny_run

HANGS = """
import hashlib, time
from videojam_jax.parallel.watchdog import Watchdog

def a_library_that_never_returns():
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # not in Python, as XLA is not

with Watchdog({stall}, {slow}, tell=lambda message: print("told:", message, flush=True)) as watch:
    {body}
print("good end")
"""


def hangs(stall, slow, body):
    """Exit status, what it said, and after how many seconds."""
    program = HANGS.format(stall=stall, slow=slow, body="\n    ".join(body))
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program], env=tiny_run.environment(), capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr, time.monotonic() - began


def test_a_step_that_hangs_ends_the_process_and_tells_every_thread():
    status, said, _ = hangs(0.4, 30, ["watch.step()", "a_library_that_never_returns()"])
    assert status == 75, said
    assert "thread MainThread:" in said and "in a_library_that_never_returns" in said
    assert "videojam: error: a step has not ended for 0 s (the limit of a step is 0 s); run" in said
    assert "told: a step has not ended" in said


def test_what_is_slower_than_a_step_has_a_limit_of_its_own():
    body = ["with watch.during('saving'):", "    time.sleep(1.5)", "time.sleep(0.1)", "watch.step()"]
    assert hangs(0.5, 30, body)[:2] == (0, "good end\n")
    status, said, _ = hangs(0.2, 0.3, [*body[:1], "    a_library_that_never_returns()"])
    assert status == 75 and "saving has not ended" in said


def test_the_limit_grows_with_the_usual_step_and_zero_is_none():
    slow_steps = ["for _ in range(5):", "    time.sleep(0.1); watch.step()"]
    assert hangs(0.3, 30, [*slow_steps, "time.sleep(1.2)"])[0] == 0  # 20 of them take 2 s
    assert hangs(0, 0.1, ["time.sleep(0.5)"])[0] == 0
