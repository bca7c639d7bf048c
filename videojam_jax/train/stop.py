"""Stopping on SIGTERM or Ctrl-C: a run saves at the next step, alone or all its processes at one.

With several processes a signal may reach one of them only. It is then asked for at every
step whether any process was told to stop (`parallel.distributed.Agreement`), and all stop
two steps after the first one was. Where nothing is left to save (before the first step, and
while clips are shown), a process that is told to stop goes at once.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import jax
from jax.sharding import Mesh

from videojam_jax.errors import STOPPED
from videojam_jax.parallel.distributed import Agreement

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# A signal may come twice at once: from a terminal to all, and passed on by a launcher.
SAME_SIGNAL_SECONDS = 1.0
# How long the main thread has to come back from a device or a library, and to end in good order.
ORDERLY_SECONDS = 5.0


class Stop:
    """A context in which the first signal asks to save and leave, and a second ends at once.

    Python runs a handler between two lines of the main thread, which may be waiting for a
    device, or for a process that will never answer. So a thread of its own listens.
    """

    def __init__(self, mesh: Mesh):
        several = jax.process_count() > 1
        self._agreement = Agreement(mesh, questions=2) if several else None
        self._asked = self._interrupted = False
        self._finish: Callable[[], None] | None = None

    def agreed(self, also: bool = False) -> tuple[bool, bool]:
        """To be called once a step: whether any process was told to stop, or asks for `also`."""
        mine = self._asked, also
        return self._agreement.any(*mine) if self._agreement else mine

    @contextlib.contextmanager
    def at_once(self, finish: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Within, nothing has to be saved: who is told to stop goes when `finish()` is through.

        Raises:
          KeyboardInterrupt: a signal came, or had come.
        """
        self._finish = finish
        try:
            if self._asked:
                self._interrupted = True
                raise KeyboardInterrupt
            yield
        except KeyboardInterrupt:
            finish()
            raise
        finally:
            self._finish = None

    def __enter__(self):
        self._arrived, self._notify = socket.socketpair()
        self._notify.setblocking(False)
        self._fd_before = signal.set_wakeup_fd(self._notify.fileno(), warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        threading.Thread(target=self._listen, name="stop signals", daemon=True).start()
        return self

    def __exit__(self, *_):
        signal.set_wakeup_fd(self._fd_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._notify.close()  # the thread reads the end, and goes

    def _ask(self, *_):
        self._asked = True
        if self._finish and not self._interrupted:
            self._interrupted = True
            raise KeyboardInterrupt

    def _listen(self):
        first = None
        while numbers := self._arrived.recv(16):
            if not any(number in SIGNALS for number in numbers):
                continue
            self._asked, now = True, time.monotonic()
            if first is None:
                first = now
                threading.Thread(target=self._leave, daemon=True).start()
            if now - first > SAME_SIGNAL_SECONDS:
                _end("ended at once by a second signal; whole checkpoints stay")

    def _leave(self):
        """After the first signal: where the main thread does not come back to say so itself."""
        finish = self._finish
        time.sleep(ORDERLY_SECONDS)
        if finish and finish is self._finish:
            finish()
            _end("stopped by a signal; what was finished is kept")


def _end(message: str) -> None:
    with contextlib.suppress(OSError):
        print(f"{message}; run the same command to go on", file=sys.stderr, flush=True)
    os._exit(STOPPED)
