"""The records of a prepared data set that cannot be read and are passed over."""

import threading
from collections.abc import Callable


class Skipped:
    """Which they are, by index; asked and added to by threads.

    At most `most` are passed over, each told once. `len` is how many there are so far, in this
    process.
    """

    def __init__(self, most: int, tell: Callable[[str], None]):
        self.most = most
        self._tell = tell
        self._found: set[int] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, index: int) -> bool:
        return index in self._found

    def add(self, index: int, reason: str) -> bool:
        """Whether a record is passed over, which is told with its reason if it is new."""
        with self._lock:
            if index in self._found:
                return True
            if len(self._found) >= self.most:
                return False
            self._found.add(index)
            self._tell(f"record {len(self._found)} of at most {self.most} passed over: {reason}")
            return True
