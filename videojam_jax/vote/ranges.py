"""Parts of a file, as a browser asks for them when it seeks in a video (RFC 9110, 14)."""

import re


class Unsatisfiable(Exception):
    """The file has nothing of what was asked for."""


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last of a `Range:` header; None for the whole file.

    The whole file is what the standard answers to anything it does not understand, and it
    may answer so to several ranges at once, which no browser asks for in a video.

    >>> parse_range("bytes=0-99", 1000), parse_range("bytes=900-", 1000)
    ((0, 100), (900, 1000))
    >>> parse_range("bytes=-100", 1000), parse_range("bytes=900-5000", 1000)
    ((900, 1000), (900, 1000))
    >>> parse_range(None, 1000), parse_range("bytes=1-2,4-5", 1000), parse_range("lines=1", 10)
    (None, None, None)

    Raises:
      Unsatisfiable: the range begins behind the file's end, or is empty.
    """
    asked = re.fullmatch(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", header or "", re.ASCII)
    if asked is None or asked[1] == asked[2] == "":
        return None
    if asked[1] == "":
        start, stop = max(0, size - int(asked[2])), size
    else:
        start, stop = int(asked[1]), min(size, int(asked[2] or size) + 1)
        if asked[2] and int(asked[2]) < start:
            return None
    if start >= stop:
        raise Unsatisfiable(f"{header} of {size} bytes")
    return start, stop
