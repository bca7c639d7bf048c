"""What of a prompt a text encoder reads: all of it, or the text that is to be drawn.

Movie Gen (arXiv 2410.13720, section 3.1.3) gives ByT5, which sees characters, only the text
that stands in the prompt in quotation marks, and its other encoders the whole prompt, with the
clip's frame rate before it, `FPS-24`, so that a rate can be asked for.

`prepare` and `sample` read captions by these functions alone, so both read them alike.
"""

import re

READINGS = ("prompt", "quoted")

# Straight or curly, also a low one that opens: whoever typed a prompt may have mixed them.
_QUOTED = re.compile('["“”„]([^"“”„]*)["“”„]')


def read(prompt: str, reading: str, prefix: str = "") -> str:
    """The text that one encoder is given.

    The empty prompt is read as the empty text by all, without a prefix: it stands for a text
    that is dropped.

    Args:
      prompt: a caption, as it was written.
      reading: one of `READINGS`.
      prefix: stands before a prompt that is read whole, see `fps_prefix`.

    >>> read("a dog runs", "prompt", "FPS-24")
    'FPS-24 a dog runs'
    >>> read('a sign says "open", a dog runs', "quoted", "FPS-24")
    'open'
    >>> read("", "prompt", "FPS-24")
    ''
    """
    if reading == "quoted":
        return quoted(prompt)
    return f"{prefix} {prompt}" if prefix and prompt else prompt


def quoted(prompt: str) -> str:
    """What stands between double quotation marks, a space between several; "" without any.

    >>> quoted('a shop named "Fish & Chips" beside “Books”')
    'Fish & Chips Books'
    """
    found = (part.strip() for part in _QUOTED.findall(prompt))
    return " ".join(part for part in found if part)


def fps_prefix(fps: float) -> str:
    """A frame rate as Movie Gen writes it.

    >>> fps_prefix(24.0), fps_prefix(23.976)
    ('FPS-24', 'FPS-23.976')
    """
    return f"FPS-{fps:g}"
