"""Files whose frames can be placed from their start alone, read onward from clip to clip.

To decode such a file (see `is_sequential`) from its start for each of its clips takes a time that
grows with the square of its length.
"""

import collections
import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from videojam_jax.data.video_file import Shown, all_shown, is_sequential, opened_at
from videojam_jax.data.video_timing import VideoInfo, open_video

# Of all files together: each has a decoder and a few frames in memory.
_OPEN_AT_MOST = 4


class Onward:
    """Decoders that stay open where a clip ended, for the next clip of their file.

    Threads may share it: clips of one file wait for each other. A clip that begins before where
    the file's decoders are, is decoded from the start, by another one. It can be pickled; what
    comes out has none open.
    """

    def __init__(self, step: float):
        """`step`: seconds from the start of one clip to that of the next."""
        self._step = step
        self._is_sequential: dict[str, bool] = {}  # of the files that were opened
        self._idle: list[_Decoder] = []  # the last used last
        self._busy: set[str] = set()  # files
        self._turn = threading.Condition()

    def __reduce__(self):
        return Onward, (self._step,)

    @contextlib.contextmanager
    def opened_at(
        self,
        path: str | os.PathLike,
        info: VideoInfo,
        at_least: tuple[int, int] | None,
        first: float,
        seek: float | None,
    ) -> Iterator[Iterator[Shown]]:
        """As `video_file.opened_at`; of a sequential file frames begin before `first`."""
        name = os.fspath(path)
        if name not in self._is_sequential:
            with open_video(path, info.stream) as (container, stream):
                self._is_sequential[name] = is_sequential(container, stream)
        if not self._is_sequential[name]:
            with opened_at(path, info, at_least, first, seek) as frames:
                yield frames
            return
        decoder = self._taken(name, first + info.rounding)
        try:
            decoder = decoder or _Decoder(name, info, at_least)
            with decoder.closed_by_errors():
                yield decoder.frames(first + self._step + info.rounding)
        finally:
            self._given_back(name, decoder)

    def _taken(self, name: str, first: float) -> "_Decoder | None":
        """The decoder of a file that is nearest before a time, once nobody reads the file."""
        with self._turn:
            self._turn.wait_for(lambda: name not in self._busy)
            self._busy.add(name)
            before = [one for one in self._idle if one.name == name and one.begin <= first]
            found = max(before, key=lambda one: one.begin, default=None)
            if found:
                self._idle.remove(found)
            return found

    def _given_back(self, name: str, decoder: "_Decoder | None") -> None:
        with self._turn:
            self._busy.discard(name)
            if decoder and decoder.is_open:
                self._idle.append(decoder)
            surplus = self._idle[:-_OPEN_AT_MOST]
            del self._idle[:-_OPEN_AT_MOST]
            self._turn.notify_all()
        for one in surplus:
            one.close()


class _Decoder:
    """A file that is open, and those of its decoded frames that the next clip may begin with."""

    def __init__(self, name: str, info: VideoInfo, at_least: tuple[int, int] | None):
        self.name = name
        self._file = contextlib.ExitStack()
        container, stream = self._file.enter_context(open_video(name, info.stream))
        self._new = all_shown(container, stream, at_least)
        self._kept: collections.deque[Shown] = collections.deque()
        self.is_open = True

    @property
    def begin(self) -> float:
        """Container seconds from which on it has every frame."""
        return self._kept[0].start if self._kept else -float("inf")

    def frames(self, next_first: float) -> Iterator[Shown]:
        """Those kept and all that follow; at `next_first` the next clip may begin."""
        yield from tuple(self._kept)
        for shown in self._new:
            self._kept.append(shown)
            while len(self._kept) > 1 and self._kept[1].start <= next_first:
                self._kept.popleft()
            yield shown
        self.close()

    @contextlib.contextmanager
    def closed_by_errors(self) -> Iterator[None]:
        """Errors within are those of the open file: as `open_video` puts them."""
        try:
            yield
        except BaseException:
            self.is_open = False
            self._file.__exit__(*sys.exc_info())
            raise

    def close(self) -> None:
        self.is_open = False
        self._new = iter(())
        self._file.close()
