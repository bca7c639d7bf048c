"""The processes of a run prove to each other that they run the same.

They would train on together with other settings, other code or another JAX, and end with other
"replicated" parameters, or wait for one another for ever where their programs differ.
"""

import collections
import hashlib
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from videojam_jax.differences import differences
from videojam_jax.errors import UserError
from videojam_jax.parallel.distributed import broadcast_text, gather
from videojam_jax.parallel.packages import installed

PACKAGE = Path(__file__).resolve().parents[1]
# Those that shape the programs, the random numbers and the checkpoints, where installed.
PACKAGES = (
    "jax", "jaxlib", "libtpu", "jax-cuda12-plugin", "jax-cuda13-plugin", "flax", "optax", "numpy",
    "ml-dtypes", "orbax-checkpoint", "array-record", "grain",
)  # fmt: skip
# Of what differs so much is told, and of a value so many characters.
MOST_TOLD, MOST_LONG = 4, 60


def check(facts: Mapping[str, Any]) -> None:
    """Refuses a run whose processes do not have the same facts; to be called by all of them.

    One exchange of 32 bytes; what differs is sent where something does.

    Args:
      facts: names and values, as JSON holds them, as this process sees them.

    Raises:
      UserError: in every process the same; it names the processes that differ from most, and in
        what the first of them does.
    """
    if jax.process_count() == 1:
        return
    text = json.dumps(facts)
    rows = gather(np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8))
    digests = [row.tobytes() for row in rows]
    usual, odd = apart(digests)
    if odd:
        there, here = (json.loads(broadcast_text(text, process)) for process in (usual, odd[0]))
        raise UserError(told(there, here, usual, odd))


def apart(digests: list[bytes]) -> tuple[int, list[int]]:
    """A process that has what most have (process 0 among them, where it is as many), and all
    that have something else.

    >>> apart([b"a", b"b", b"b"]), apart([b"a", b"b"])
    ((1, [0]), (0, [1]))
    """
    ((most, _),) = collections.Counter(digests).most_common(1)  # of as many, the first
    return digests.index(most), [i for i, digest in enumerate(digests) if digest != most]


def told(there: Mapping[str, Any], here: Mapping[str, Any], usual: int, odd: list[int]) -> str:
    """One line of what process `odd[0]` has `here`, and process `usual` has `there`."""
    found = differences(there, here)
    named = [
        f"{name} ({_short(before)} on process {usual}, {_short(now)} on process {odd[0]})"
        for name, before, now in found[:MOST_TOLD]
    ]
    more = f" and {len(found) - MOST_TOLD} more" if len(found) > MOST_TOLD else ""
    if len(odd) == 1:
        who = f"process {odd[0]} does not run what process {usual} runs"
    else:
        numbers = ", ".join(map(str, odd[:8])) + (", ..." if len(odd) > 8 else "")
        who = f"{len(odd)} processes ({numbers}) do not run what process {usual} runs, the first"
    return (
        f"{who}: it differs in {', '.join(named)}{more}; start all processes with the same "
        "command, the same code and the same packages"
    )


def _short(value: Any) -> str:
    text = str(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= MOST_LONG else f"{text[:MOST_LONG]}..."


def code() -> dict[str, str]:
    """Versions of Python and of the packages that matter, and a word for each file of our own."""
    found = versions()
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE.parent).as_posix()
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return found


def versions() -> dict[str, str]:
    """Of Python and of the packages that matter, as far as they are installed."""
    return {"python": ".".join(platform.python_version_tuple()[:2]), **installed(PACKAGES)}
