"""Nothing waits without a limit: a process that no longer gets on says where it stands, and ends."""

import collections
import contextlib
import faulthandler
import os
import statistics
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator

from videojam_jax.errors import STOPPED

# A step may take so many usual ones before it counts as hanging, where the limit is less.
USUAL_STEPS = 20
# Should something hold the interpreter itself, no thread of Python's can tell: then C does, so
# much later.
HELD_SECONDS = 60.0
STEP = "a step"


class Watchdog:
    """A context in which a process ends by status 75 when nothing has ended for too long.

    All its threads' stacks go to its log before. The other processes of a run find out that it
    is gone, as of any that is lost; a launcher starts all of them again.

    Args:
      stall: seconds that a step may take, or USUAL_STEPS medians of the last ones where that is
        longer; 0: no limit.
      slow: seconds for what is named by `during`.
      keys: what sets the two, for the message.
      tell: is given the message before the process ends.
    """

    def __init__(
        self,
        stall: float,
        slow: float,
        keys: tuple[str, str] = ("the limit of a step", "the limit"),
        tell: Callable[[str], None] = lambda message: None,
    ):
        self._stall, self._slow, self._keys, self._tell = stall, slow, keys, tell
        self._steps: collections.deque[float] = collections.deque(maxlen=100)
        self._ended = threading.Event()
        self._waiting = "the start", time.monotonic(), slow, keys[1]

    def step(self) -> None:
        """A step has ended."""
        what, since, _, _ = self._waiting
        if what == STEP:
            self._steps.append(time.monotonic() - since)
        self._wait_for(STEP)

    @contextlib.contextmanager
    def during(self, what: str) -> Iterator[None]:
        """Within, the limit is that of things slower than a step: `what` is "saving"."""
        self._waiting = what, time.monotonic(), self._slow, self._keys[1]
        yield
        self._wait_for(f"{STEP} after {what}")  # not a usual one

    def _wait_for(self, step: str) -> None:
        usual = statistics.median(self._steps) if self._steps else 0.0
        limit = max(self._stall, USUAL_STEPS * usual)
        self._waiting = step, time.monotonic(), limit, self._keys[0]

    def __enter__(self):
        if self._stall:
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        poll = min(1.0, self._stall / 10)
        while not self._ended.wait(poll):
            what, since, limit, key = self._waiting
            waited = time.monotonic() - since
            if waited > limit:
                self._end(f"{what} has not ended for {waited:.0f} s ({key} is {limit:.0f} s)")
            with contextlib.suppress(AttributeError, OSError, ValueError):  # no such stream
                faulthandler.dump_traceback_later(
                    limit + HELD_SECONDS, exit=True, file=sys.__stderr__
                )

    def _end(self, message: str) -> None:
        lines = [f"videojam: error: {message}; where every thread stands:"]
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for number, frame in sys._current_frames().items():
            if number != threading.get_ident():
                lines.append(f"thread {names.get(number, number)}:")
                lines += [line.rstrip() for line in traceback.format_stack(frame)]
        lines.append(f"videojam: error: {message}; run the same command to go on")
        try:
            # From a thread of its own: the disk that hangs may be the log's.
            for act in (lambda: print("\n".join(lines), file=sys.stderr, flush=True),
                        lambda: self._tell(message)):  # fmt: skip
                thread = threading.Thread(target=act, daemon=True)
                thread.start()
                thread.join(10.0)
        finally:
            os._exit(STOPPED)
