"""Real requests to a real server, over real clips."""

import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import pytest

from videojam_jax.errors import UserError
from videojam_jax.vote.order import a_side, show_order
from videojam_jax.vote.questions import NAMES
from videojam_jax.vote.ranges import Unsatisfiable, parse_range
from videojam_jax.vote.server import running
from videojam_jax.vote.store import read_votes

ROOT = Path(__file__).resolve().parents[3]


def request(address, method, path, content=None, headers=None):
    """Status, headers and body of the answer, over a connection of its own."""
    place = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=20)
    try:
        connection.request(method, path, content, headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def say(address, action, headers=None, **content):
    """Status and JSON of what the page itself would send."""
    place = urllib.parse.urlsplit(address)
    base = {"Content-Type": "application/json", "Origin": f"http://{place.netloc}"}
    body = json.dumps(content)
    status, _, answer = request(
        address, "POST", f"/api/{action}", body, {**base, **(headers or {})}
    )
    return status, json.loads(answer)


def answer_all(address, rater, side):
    """Answers everything that is left, with `side(pair, question)`; the last state."""
    _, state = say(address, "enter", rater=rater)
    while state["pair"]:
        for question in NAMES:
            if question in state["pair"]["answers"]:
                continue
            pair = state["pair"]
            status, state = say(
                address, "vote", rater=rater, pair=pair["id"], question=question,
                side=side(pair, question),
            )  # fmt: skip
            assert status == 200, state
    return state


def test_page_and_its_parts_are_served_and_ask_for_nothing_elsewhere(started):
    with started() as address:
        for path, kind in [("/", "html"), ("/page.css", "css"), ("/page.js", "javascript")]:
            status, headers, body = request(address, "GET", path)
            assert status == 200 and headers["Content-Type"] == f"text/{kind}; charset=utf-8"
            assert not re.search(rb"https?://|@import|//[a-z]+\.", body)
            assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_nothing_that_a_browser_gets_tells_a_from_b(started, folders):
    told = []
    with started(names=("secret jam", "secret base")) as address:
        for rater in ("Anna", "Bela"):
            _, state = say(address, "enter", rater=rater)
            while state["pair"]:
                told.append(json.dumps(state))
                for side in ("left", "right"):
                    clip = state["pair"][side]
                    # B has no gifs, so none is offered of A either.
                    assert list(clip) == ["mp4", "gif"] and clip["gif"] is None
                    status, headers, _ = request(address, "GET", "/" + clip["mp4"])
                    assert status == 200
                    told.append(json.dumps(headers))
                    assert not headers.keys() & {"Last-Modified", "ETag", "Content-Disposition"}
                _, state = say(address, "skip", rater=rater, pair=state["pair"]["id"])
    everything = "\n".join(told)
    files = [path.name for folder in folders for path in folder.iterdir()]
    for name in ["secret", *files, *(str(folder) for folder in folders)]:
        assert name not in everything


def test_clips_are_whole_and_on_the_side_that_the_order_says(started, folders, prompts):
    keys = sorted((prompt, 0) for prompt in prompts)
    with started(seed=5) as address:
        _, state = say(address, "enter", rater="Anna")
        for number, place in enumerate(show_order(5, "anna", keys), 1):
            pair = state["pair"]
            assert (pair["number"], pair["prompt"]) == (number, keys[place][0])
            files = {
                "a": next(folders[0].glob(f"???_{pair['prompt'].replace(' ', '_')}.mp4")),
                "b": folders[1] / f"{pair['prompt']}-0.mp4",
            }
            of_a = a_side(5, "anna", keys[place])
            for side in ("left", "right"):
                _, _, content = request(address, "GET", "/" + pair[side]["mp4"])
                assert content == files["a" if side == of_a else "b"].read_bytes()
            _, state = say(address, "skip", rater="Anna", pair=pair["id"])


def test_votes_go_to_the_model_that_was_on_that_side(started, votes_file, prompts):
    keys = sorted((prompt, 0) for prompt in prompts)
    chosen = {}

    def left_for_text_else_right(pair, question):
        side = "left" if question == "text" else "right"
        chosen[pair["prompt"], question] = side
        return side

    with started() as address:
        state = answer_all(address, "Anna", left_for_text_else_right)
    assert (state["done"], state["skipped"], state["pair"]) == (len(prompts), 0, None)
    votes = read_votes(votes_file).votes
    assert len(votes) == 3 * len(prompts) == len(chosen)
    for vote in votes:
        side = chosen[keys[vote.pair][0], vote.question]
        of_a = a_side(0, "anna", keys[vote.pair])
        assert (vote.choice, vote.a_side) == ("a" if side == of_a else "b", of_a)


def test_a_rater_goes_on_after_a_restart_with_the_page_still_open(started):
    with started() as address:
        _, first = say(address, "enter", rater="Anna")
        _, answered = say(
            address, "vote", rater="Anna", pair=first["pair"]["id"], question="quality",
            side="right",
        )  # fmt: skip
        assert answered["pair"]["answers"] == {"quality": "right"}
    with started() as address:
        status, _, body = request(address, "GET", "/api/state?rater=anna")
        assert (status, json.loads(body)) == (200, answered)
        for question in ("text", "motion"):
            status, state = say(
                address, "vote", rater="Anna", pair=first["pair"]["id"], question=question,
                side="left",
            )  # fmt: skip
            assert status == 200
        assert state["done"] == 1 and state["pair"]["number"] == 2
        # Back into the finished pair, by what was done last.
        _, state = say(address, "undo", rater="Anna")
        assert state["pair"]["id"] == first["pair"]["id"]
        assert state["pair"]["answers"] == {"text": "left", "quality": "right"}


def test_what_makes_no_sense_is_refused_with_the_reason_and_changes_nothing(started, votes_file):
    with started() as address:
        _, state = say(address, "enter", rater="Anna")
        good = {
            "rater": "Anna", "pair": state["pair"]["id"], "question": "text", "side": "left",
        }  # fmt: skip
        for key, values in {
            "rater": ["Nobody", "", None, 7, ["Anna"], "x" * 1000],
            "pair": ["0", 0, None, good["pair"].upper() + "x", {"id": 1}],
            "question": ["skip", "", None, "beauty", ["text"]],
            "side": ["a", "Left", None, True, "middle", {}],
        }.items():
            for value in values:
                status, answer = say(address, "vote", **{**good, key: value})
                assert status == 400, (key, value, answer)
                assert answer["error"].startswith(f"{key}: "), (key, value, answer)
        assert say(address, "enter", rater="\x00")[0] == 400
        assert say(address, "enter", rater=None)[0] == 400
        assert say(address, "undo", rater="Nobody")[0] == 400
        assert say(address, "destroy", **good)[0] == 404
        assert request(address, "GET", "/api/state")[0] == 400
        assert say(address, "vote", **good)[0] == 200  # it was only the one thing each time
    assert len(read_votes(votes_file).votes) == 1


def test_a_vote_on_a_pair_that_is_not_the_current_one_comes_too_late(started, votes_file):
    with started() as address:
        _, state = say(address, "enter", rater="Anna")
        first = state["pair"]["id"]
        say(address, "skip", rater="Anna", pair=first)
        for action, more in [("skip", {}), ("vote", {"question": "text", "side": "left"})]:
            status, answer = say(address, action, rater="Anna", pair=first, **more)
            assert status == 409 and "finished before" in answer["error"]
    assert read_votes(votes_file).votes == ()


def test_votes_are_taken_from_the_servers_own_page_only(started, votes_file):
    with started() as address:
        port = urllib.parse.urlsplit(address).port
        for headers, status in [
            ({"Origin": "https://elsewhere.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Origin": ""}, 403),
            ({"Origin": f"http://127.0.0.1:{port + 1}"}, 403),
            # A name of another site that was made to lead here.
            ({"Origin": f"http://evil.example:{port}", "Host": f"evil.example:{port}"}, 403),
            ({"Content-Type": "text/plain"}, 415),
            ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ]:
            got, answer = say(address, "enter", headers=headers, rater="Anna")
            assert got == status and "error" in answer, headers
        assert request(address, "GET", "/", headers={"Host": "evil.example"})[0] == 403
        assert request(address, "GET", "/", headers={"Host": f"localhost:{port}"})[0] == 200
    assert read_votes(votes_file).raters == {}


def test_bodies_that_cannot_be_read_are_refused(started):
    with started() as address:
        place = urllib.parse.urlsplit(address)
        base = {"Content-Type": "application/json", "Origin": f"http://{place.netloc}"}
        for body in ("", "{", "[]", '"x"', "1", "\xff"):
            assert request(address, "POST", "/api/enter", body.encode("latin1"), base)[0] == 400
        assert request(address, "POST", "/api/enter", "x" * 70_000, base)[0] == 413
        with socket.create_connection((place.hostname, place.port), timeout=20) as plain:
            plain.sendall(f"POST /api/enter HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode())
            assert plain.recv(100).startswith(b"HTTP/1.1 411")
        status, _, answer = request(address, "DELETE", "/")
        assert status == 501 and "error" in json.loads(answer)


@pytest.mark.parametrize(
    "path",
    [
        "/clip/../page.js", "/clip/..%2f..%2fvotes.sqlite", "/../../etc/passwd",
        "/clip//etc/passwd",
        "/clip/", "/clip/a%20red%20disc%20falls-0.mp4", "/server.py", "/results", "//etc/passwd",
    ],
)  # fmt: skip
def test_no_other_file_can_be_reached(started, path):
    with started() as address:
        status, headers, body = request(address, "GET", path)
        assert (status, headers["Content-Type"]) == (404, "application/json")
        assert "error" in json.loads(body)


def test_a_browser_gets_the_parts_of_a_clip_that_it_asks_for(started):
    with started() as address:
        _, state = say(address, "enter", rater="Anna")
        path = "/" + state["pair"]["left"]["mp4"]
        _, headers, whole = request(address, "GET", path)
        size = len(whole)
        assert headers["Content-Type"] == "video/mp4" and headers["Accept-Ranges"] == "bytes"
        for asked, start, stop in [
            ("bytes=0-1", 0, 2),
            ("bytes=0-", 0, size),
            (f"bytes={size - 1}-", size - 1, size),
            ("bytes=-7", size - 7, size),
            (f"bytes=10-{size + 99}", 10, size),
        ]:
            status, headers, part = request(address, "GET", path, headers={"Range": asked})
            assert (status, part) == (206, whole[start:stop]), asked
            assert headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
        status, headers, _ = request(address, "GET", path, headers={"Range": f"bytes={size}-"})
        assert (status, headers["Content-Range"]) == (416, f"bytes */{size}")
        status, headers, body = request(address, "HEAD", path)
        assert (status, headers["Content-Length"], body) == (200, str(size), b"")


def test_a_range_that_is_none_is_the_whole_file():
    for header in ("bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=a-b", "bytes=1-2, 4-5", ""):
        assert parse_range(header, 10) is None
    for header in ("bytes=10-", "bytes=10-20", "bytes=-0"):
        with pytest.raises(Unsatisfiable):
            parse_range(header, 10)


def test_a_clip_that_changed_or_went_away_is_not_shown(tmp_path, vbench, votes_file):
    a, b = vbench(tmp_path / "a", ["one"]), vbench(tmp_path / "b", ["one"], shade=9)
    with running(a, b, votes_file, tell=lambda line: None) as address:
        _, state = say(address, "enter", rater="Anna")
        path_a, path_b = (
            "/" + state["pair"][side]["mp4"]
            for side in sorted(("left", "right"), key=lambda s: s != a_side(0, "anna", ("one", 0)))
        )
        (a / "one-0.mp4").write_bytes(b"another clip")
        assert request(address, "GET", path_a)[0] == 409
        assert request(address, "GET", path_b)[0] == 200
        (b / "one-0.mp4").unlink()
        assert request(address, "GET", path_b)[0] == 404


def test_many_raters_at_once_lose_no_vote(started, votes_file, prompts):
    names = [f"rater {i}" for i in range(8)]
    with started() as address:
        threads = [
            threading.Thread(target=answer_all, args=(address, name, lambda *_: "left"))
            for name in names
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    record = read_votes(votes_file)
    assert len(record.raters) == 8 and len(record.votes) == 8 * 3 * len(prompts)


def test_a_vote_that_the_disk_refuses_is_not_confirmed(started, votes_file):
    with started() as address:
        _, state = say(address, "enter", rater="Anna")
        vote = {"rater": "Anna", "pair": state["pair"]["id"], "question": "text", "side": "left"}
        # SQLite's own error, as of a full disk, in the midst of a vote.
        with sqlite3.connect(votes_file) as other:
            other.execute(
                "CREATE TRIGGER full AFTER INSERT ON votes "
                "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
            )
        status, answer = say(address, "vote", **vote)
        assert status == 500 and answer["error"].startswith("nothing was saved: ")
        with sqlite3.connect(votes_file) as other:
            other.execute("DROP TRIGGER full")
        assert say(address, "vote", **vote)[0] == 200
    with sqlite3.connect(votes_file) as other:
        assert other.execute("SELECT count(*) FROM votes").fetchone() == (1,)


def test_names_default_to_where_the_folders_differ_and_are_told_to_the_one_who_starts(
    folders, votes_file
):
    lines = []
    with running(*folders, votes_file, tell=lines.append):
        pass
    assert lines == ["5 pairs: A is secret_jam, B is secret_base"]
    assert read_votes(votes_file).names == ("secret_jam", "secret_base")


def test_a_place_that_cannot_be_used_is_an_error_that_says_so(folders, votes_file, tmp_path):
    def start(**options):
        with running(*folders, **{"votes": votes_file, **options}, tell=lambda line: None):
            pytest.fail("it should not run")

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1, port {port}: .* choose another"):
            start(port=port)
    with pytest.raises(UserError, match="port 99999"):
        start(port=99999)
    with pytest.raises(UserError, match="cannot listen at no.such.host.invalid"):
        start(host="no.such.host.invalid")
    with pytest.raises(UserError, match="there is no folder"):
        start(votes=tmp_path / "nowhere" / "votes.sqlite")
    with running(folders[0], folders[1], votes_file, tell=lambda line: None):
        pass
    with pytest.raises(UserError, match="holds votes on other clips"), running(
        folders[1], folders[0], votes_file, tell=lambda line: None
    ):
        pass


SERVE = """
import sys
from pathlib import Path
from videojam_jax.vote.server import serve
serve(*map(Path, sys.argv[1:4]), tell=lambda line: print(line, flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_ends_cleanly_by_a_signal(folders, votes_file, number):
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE, *folders, votes_file],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        server.stdout.readline()  # the pairs
        address = re.search(r"http://\S+/", server.stdout.readline())[0]
        place = urllib.parse.urlsplit(address)
        assert say(address, "enter", rater="Anna")[0] == 200
        # A browser's open connection does not keep it.
        with socket.create_connection((place.hostname, place.port), timeout=20):
            server.send_signal(number)
            out, errors = server.communicate(timeout=20)
    finally:
        server.kill()
    assert (server.returncode, errors) == (0, "")
    assert f"votes are in {votes_file}" in out
    assert list(read_votes(votes_file).raters) == ["anna"]
