"""The page for raters, served from this machine until Ctrl-C.

Votes come as JSON from the page itself and from nowhere else: a request that another
site's page sends names that site as its `Origin`; and a name of another site that was
made to lead here (DNS rebinding) stands in `Host`. Both are refused. There are no
passwords: who may reach the address may vote under any name.
"""

import contextlib
import http.server
import importlib.resources
import ipaddress
import json
import os
import signal
import socket
import socketserver
import sqlite3
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from pathlib import Path

from videojam_jax.errors import UserError
from videojam_jax.vote.ballot import Ballot, Refused
from videojam_jax.vote.folders import fingerprint, folder_names, pair_folders
from videojam_jax.vote.ranges import Unsatisfiable, parse_range
from videojam_jax.vote.store import Votes

LONGEST_BODY = 1 << 16
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
PIECE = 1 << 20  # bytes of a clip that are in memory at once
CLIP_KINDS = {".mp4": "video/mp4", ".gif": "image/gif"}
HEADERS = {
    # The page needs nothing but this server, and nothing else may frame or read it.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; media-src 'self'; img-src 'self' data: blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def serve(
    a: Path,
    b: Path,
    votes: Path,
    *,
    names: tuple[str, str] | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    seed: int = 0,
    tell: Callable[[str], None] = print,
) -> None:
    """Lets raters compare the clips of two folders until SIGINT or SIGTERM; then returns.

    To be called in the main thread. A vote that is being written then is finished.

    Args:
      a, b: folders of clips, see `folders`.
      votes: the file of the votes, made if it is not there.
      names: of A and B in the table; by default those of a file that is gone on with, or
        the folders'. A rater never sees them.
      host, port: where to listen; port 0 is any that is free.
      seed: decides, with the rater's name, sides and order.
      tell: takes a line for whoever started this.

    Raises:
      UserError: the folders, the votes file or the address cannot be used.
    """
    ended_by: list[int] = []
    with contextlib.ExitStack() as restore:
        for number in (signal.SIGINT, signal.SIGTERM):
            # None: set by something other than Python, which cannot be put back.
            before = signal.signal(number, lambda number, _: ended_by.append(number))
            restore.callback(signal.signal, number, before or signal.SIG_DFL)
        with running(
            a, b, votes, names=names, host=host, port=port, seed=seed, tell=tell
        ) as address:
            tell(f"open {address} in a browser; Ctrl-C ends it, and the same command goes on")
            # No wait without end: the system may hand a signal to another thread, and this one,
            # which alone runs the handler, would sleep on. And no lock that both could hold.
            while not ended_by:
                time.sleep(0.1)
    tell(f"votes are in {votes}; --votes {votes} --table shows what came of them")


@contextlib.contextmanager
def running(
    a: Path,
    b: Path,
    votes: Path,
    *,
    names: tuple[str, str] | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    seed: int = 0,
    tell: Callable[[str], None] = print,
) -> Iterator[str]:
    """The server as `serve` runs it, in threads, while this is entered; gives its address.

    Raises:
      UserError: as `serve`.
    """
    if not Path(votes).parent.is_dir():
        raise UserError(f"cannot write {votes}: there is no folder {Path(votes).parent}")
    found = pair_folders(Path(a), Path(b))
    for note in found.notes:
        tell(note)
    store = Votes(
        Path(votes),
        [(pair.prompt, pair.number) for pair in found.pairs],
        fingerprint(found.pairs),
        seed=seed,
        names=names,
        default_names=folder_names(Path(a), Path(b)),
    )
    with contextlib.closing(store):
        server = _Server(host, port, Ballot(found.pairs, store, seed))
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        try:
            tell(f"{len(found.pairs)} pairs: A is {store.names[0]}, B is {store.names[1]}")
            yield server.address
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """HTTP in a thread for each connection.

    Attributes:
      ballot: what is shown and kept.
      address: for the browser.
      hosts: names this server may be called by, beside IP addresses.
      stamps: size and time of each clip when the server started.
    """

    daemon_threads = True
    block_on_close = False  # a browser keeps its connections open for minutes

    def __init__(self, host: str, port: int, ballot: Ballot):
        self.ballot = ballot
        self.stamps = {path: _stamp(os.stat(path)) for path in ballot.clips.values()}
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise UserError(
                f"cannot listen at {host}, port {port}: {reason or error}; choose another --host "
                "or --port (0 is any that is free)"
            ) from None
        everywhere = host in ("", "0.0.0.0", "::")
        mine = socket.gethostname()
        self.hosts = {"localhost", host.lower(), mine.lower(), f"{mine.lower()}.local"}
        name = mine if everywhere else f"[{host}]" if ":" in host else host
        self.address = f"http://{name}:{self.server_address[1]}/"

    def server_bind(self):
        """As its parent, but without asking a name server for this machine's name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def handle_error(self, request, client_address):
        """A browser that goes away in the middle is nothing to tell of."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "videojam"
    sys_version = ""
    timeout = 60  # seconds until an idle connection is given up

    def do_GET(self):
        """A part of the page, a clip, or where a rater stands."""
        address = urllib.parse.urlsplit(self.path)
        if not self._is_called_rightly():
            return
        if address.path in PAGE:
            kind, content = PAGE[address.path]
            self._send(HTTPStatus.OK, f"{kind}; charset=utf-8", content)
        elif address.path == "/api/state":
            asked = urllib.parse.parse_qs(address.query)
            self._answer(self.server.ballot.state, asked.get("rater", [None])[0])
        elif address.path.startswith("/clip/"):
            # Only names of clips that are shown lead to a file.
            path = self.server.ballot.clips.get(address.path.removeprefix("/clip/"))
            self._clip(path) if path else self.send_error(HTTPStatus.NOT_FOUND, "no such clip")
        else:
            self.send_error(HTTPStatus.NOT_FOUND, "no such page")

    do_HEAD = do_GET

    def do_POST(self):
        """What a rater does."""
        said = self._body()
        if said is None or not self._is_called_rightly():
            return
        origin = urllib.parse.urlsplit(self.headers.get("Origin", ""))
        if not origin.netloc or origin.netloc != self.headers["Host"]:
            self.send_error(HTTPStatus.FORBIDDEN, "votes are taken from this server's page only")
            return
        if self.headers.get_content_type() != "application/json":
            self.send_error(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "must be application/json")
            return
        try:
            said = json.loads(said)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            self.send_error(HTTPStatus.BAD_REQUEST, "must be a JSON object")
            return
        ballot = self.server.ballot
        actions = {
            "/api/enter": (ballot.enter, ("rater",)),
            "/api/vote": (ballot.vote, ("rater", "pair", "question", "side")),
            "/api/skip": (ballot.skip, ("rater", "pair")),
            "/api/undo": (ballot.undo, ("rater",)),
        }
        if self.path not in actions:
            self.send_error(HTTPStatus.NOT_FOUND, "no such action")
            return
        action, keys = actions[self.path]
        self._answer(action, *(said.get(key) for key in keys))

    def _is_called_rightly(self) -> bool:
        """Whether `Host` is a name of this server; else the request is answered."""
        try:
            name = urllib.parse.urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
            with contextlib.suppress(ValueError):
                ipaddress.ip_address(name)
                return True
            known = name in self.server.hosts
        except ValueError:
            known = False
        if not known:
            self.send_error(HTTPStatus.FORBIDDEN, "this server is not called so")
        return known

    def _body(self) -> bytes | None:
        """What was sent along; None where that was answered with an error."""
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdecimal():
            self.close_connection = True  # what follows cannot be told from a request
            self.send_error(HTTPStatus.LENGTH_REQUIRED, "Content-Length is missing")
            return None
        if int(length) > LONGEST_BODY:
            self.close_connection = True
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too long")
            return None
        return self.rfile.read(int(length))

    def _answer(self, action: Callable[..., dict], *arguments) -> None:
        try:
            self._json(HTTPStatus.OK, action(*arguments))
        except Refused as error:
            self.send_error(error.status, str(error))
        except sqlite3.Error as error:
            # A full disk, say. Nothing was kept, and the page says so.
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, f"nothing was saved: {error}")

    def _clip(self, path: Path) -> None:
        try:
            file = open(path, "rb")
        except OSError:
            self.send_error(HTTPStatus.NOT_FOUND, "the clip is no longer there")
            return
        with file:
            status = os.fstat(file.fileno())
            if _stamp(status) != self.server.stamps[path]:
                self.send_error(HTTPStatus.CONFLICT, "the clip changed since the server started")
                return
            size = status.st_size
            headers = {"Accept-Ranges": "bytes", "Cache-Control": "private, max-age=86400"}
            try:
                asked = parse_range(self.headers.get("Range"), size)
            except Unsatisfiable:
                self.send_error(
                    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                    "no such bytes",
                    headers={"Content-Range": f"bytes */{size}"},
                )
                return
            start, stop = asked or (0, size)
            if asked:
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
            file.seek(start)
            status = HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK
            pieces = (file.read(min(PIECE, stop - at)) for at in range(start, stop, PIECE))
            self._begin(status, CLIP_KINDS[path.suffix], stop - start, headers)
            self._write(pieces)

    def _json(self, status: int, content: dict, headers: dict[str, str] | None = None) -> None:
        self._send(status, "application/json", json.dumps(content).encode(), headers)

    def _send(self, status: int, kind: str, content: bytes, headers=None) -> None:
        self._begin(status, kind, len(content), headers)
        self._write([content])

    def _write(self, pieces: Iterable[bytes]) -> None:
        if self.command != "HEAD":
            self.wfile.writelines(pieces)

    def _begin(self, status: int, kind: str, size: int, headers=None) -> None:
        self.send_response(status)
        base = {"Content-Type": kind, "Content-Length": str(size)}
        given = {**HEADERS, "Cache-Control": "no-store", **base, **(headers or {})}
        for name, value in given.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def send_error(self, code, message=None, explain=None, headers=None):
        """Every error is JSON, those that the base class finds as well."""
        self._json(code, {"error": message or HTTPStatus(code).phrase}, headers)

    def log_message(self, format, *arguments):
        """Nothing: the terminal is for whoever started the server."""


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _page() -> dict[str, tuple[str, bytes]]:
    here = importlib.resources.files(__package__)
    parts = {f"/page.{kind}": (KINDS[kind], (here / f"page.{kind}").read_bytes()) for kind in KINDS}
    return {"/": parts.pop("/page.html"), **parts}


PAGE = _page()
