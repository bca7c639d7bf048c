"""One line of JSON, to a command or an address, when a person should know."""

import datetime
import json
import socket
import subprocess
import urllib.request
from pathlib import Path

from videojam_jax.errors import first_line

SECONDS = 10.0


def alert(target: str, workdir: Path, event: str, **values) -> None:
    """Tells `target` of an event; that it cannot be told is a warning.

    Args:
      target: `config.train.alert`: a command of the shell, which reads the line, or an
        http(s) address, to which it is posted; "": nobody.
      event: "done", "stopped", "diverged", "failed", "stalled" or "slow".
      values: what else there is to say, as JSON holds it.
    """
    if not target:
        return
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    where = {"workdir": str(Path(workdir).absolute()), "host": socket.gethostname()}
    line = (json.dumps({"event": event, "time": now, **where, **values}) + "\n").encode()
    try:
        if target.startswith(("http://", "https://")):
            kind = {"Content-Type": "application/json"}
            request = urllib.request.Request(target, line, kind)
            urllib.request.urlopen(request, timeout=SECONDS).close()
        else:
            subprocess.run(
                target, shell=True, input=line, timeout=SECONDS, check=True, capture_output=True
            )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        print(f"warning: config.train.alert: {target}: {first_line(error)}", flush=True)
