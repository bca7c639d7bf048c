"""The steps between two lines of a run: their metrics and what their time went into."""

import collections
import contextlib
import resource
import statistics
import sys
import time
from collections.abc import Iterator

import jax
import numpy as np

from videojam_jax.parallel import distributed

# The host prepares so many steps that the devices have not done: enough to keep them at work,
# and a step that hangs is seen.
AHEAD = 2
# A run counts as slow when its steps take so many usual ones.
SLOW = 2.0


class Interval:
    """The steps since the last line: their metrics, still on the devices, and their time."""

    def __init__(self):
        self._metrics: list[dict] = []
        self._running: collections.deque[dict] = collections.deque()
        self._paces: collections.deque[float] = collections.deque(maxlen=100)
        self.slow = False
        self.start_clock()

    def start_clock(self) -> None:
        self._since, self._steps, self._waited = time.perf_counter(), 0, 0.0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """What is done within counts as waiting for data."""
        since = time.perf_counter()
        yield
        self._waited += time.perf_counter() - since

    def add(self, metrics: dict) -> None:
        """One step more; waits for that of AHEAD steps before."""
        self._metrics.append(metrics)
        self._running.append(metrics)
        if len(self._running) > AHEAD:
            jax.block_until_ready(self._running.popleft())
        self._steps += 1

    def fetch(self) -> tuple[float, list[dict], dict[str, float]]:
        """Seconds a step, the metrics of each, and where the time and the memory went.

        To be called by all processes of a run; waits for the devices, and forgets the metrics.
        """
        values = jax.device_get(self._metrics)
        steps = max(self._steps, 1)
        seconds, waited = (time.perf_counter() - self._since) / steps, self._waited / steps
        self._metrics = []
        found = {"data_wait": waited / seconds, **_memory()}
        if distributed.joined():
            waits = distributed.gather(np.float32(waited))
            found["slowest_process"] = float(waits.argmax())
            found["slowest_lag"] = float(waits.max() - np.median(waits))
        return seconds, values, found

    def became_slow(self, seconds: float) -> bool:
        """Whether steps take much longer than they used to, told once until they no longer do."""
        usual = statistics.median(self._paces) if len(self._paces) >= 3 else seconds
        before, self.slow = self.slow, seconds > SLOW * usual
        if not self.slow:
            self._paces.append(seconds)
        return self.slow and not before


def summary(values: list[dict]) -> dict[str, float]:
    """Means over the steps that count, the longest gradient and, where any may be, those left out."""
    good = [v for v in values if not v.get("skipped")] or values
    found = {name: float(np.mean([v[name] for v in good])) for name in good[0]}
    if "skipped" in found:
        found["skipped"] = float(sum(v["skipped"] for v in values))
    if "grad_norm" in found:
        found["grad_norm_max"] = float(max(v["grad_norm"] for v in good))
    return found


def _memory() -> dict[str, float]:
    """GB: the greatest use of this process's first device, where it tells, and of the host's."""
    kilobyte = 1 if sys.platform == "darwin" else 1024
    found = {"host_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte / 1e9}
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        found["device_memory_gb"] = stats["peak_bytes_in_use"] / 1e9
    return found
