"""Processes that start at once: forks of one that has imported what every job needs.

Importing takes four of the ten seconds that a tiny job lasts, and these tests start a hundred
of them. A fork is a process like any other: killed, stopped and waited for by its number, with
its own environment, devices and output. `start` is `subprocess.Popen` where that is possible.
"""

import functools
import gc
import importlib
import json
import os
import pathlib
import runpy
import select
import signal
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Nothing of it may start a thread or a device before the fork.
READY = [
    f"videojam_jax.{name}"
    for name in (
        "cli.main", "config.loading", "lock", "terminal.process_log", "train.loop", "data.prepare",
        "sample.job", "report.job", "report.preview", "experiments.job",
    )
]  # fmt: skip


class Forked:
    """What `subprocess.Popen` gives, of a fork of the server."""

    def __init__(self, command, pid, status, stdout):
        self.args, self.pid, self.stdout = command, pid, stdout
        self.returncode = None
        self._status = status

    def wait(self, timeout=None):
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = int(self._status.readline())
            self._status.close()
        return self.returncode

    def poll(self):
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def start(command, env):
    """The process of `command`, its stdout and stderr one pipe of text.

    One of Python is forked, unless JAX is to see another variable as it is imported.
    """
    command = [str(word) for word in command]
    read = (name for name in {*env, *os.environ} if name.startswith("JAX_"))
    other = command[0] != sys.executable or any(env.get(n) != os.environ.get(n) for n in read)
    if other or sys.platform != "linux":
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, env=env, text=True, **pipes)
    request = json.dumps({"words": command[1:], "env": env, "cwd": os.getcwd()}).encode()
    status, out = os.pipe(), os.pipe()
    socket.send_fds(_server()[0], [request], [status[1], out[1]])
    os.close(status[1])
    os.close(out[1])
    told = open(status[0])
    return Forked(command, int(told.readline()), told, open(out[0]))


@functools.cache
def _server():
    """The way to the server, and its process, which ends with this one."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        process = subprocess.Popen(
            [sys.executable, __file__, str(its.fileno())],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            pass_fds=[its.fileno()],
        )
    return ours, process


def serve(requests):
    """Forks a process for every request; returns in each what it is to do, else None."""
    for name in READY:
        importlib.import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1, "a thread would not be there after the fork"
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the keepers, for whom nobody waits
    while True:
        message, (*pipes,), *_ = socket.recv_fds(requests, 1 << 20, 2)
        if not message:
            return None
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return keep(json.loads(message), *pipes)
        for pipe in pipes:
            os.close(pipe)


def keep(request, status, out):
    """Forks once more; waits for the fork and tells its status, and returns in the fork."""
    pid = os.fork()
    if pid == 0:
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.close(status)
        os.close(out)
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        return request["words"]
    os.close(out)
    os.write(status, f"{pid}\n".encode())
    _, ended = os.waitpid(pid, 0)
    os.write(status, f"{os.waitstatus_to_exitcode(ended)}\n".encode())
    os._exit(0)


def run(words):
    """As `python WORDS`."""
    match words:
        case ["-m", "videojam_jax.cli", *words]:
            from videojam_jax.cli import main

            sys.argv = [main.__file__, *words]
            sys.exit(main.main())
        case ["-c", program, *words]:
            sys.argv = ["-c", *words]
            exec(program, {"__name__": "__main__"})
        case [path, *words]:
            sys.argv = [path, *words]
            runpy.run_path(path, run_name="__main__")


if __name__ == "__main__":
    words = serve(socket.socket(fileno=int(sys.argv[1])))
    if words:
        run(words)
