"""Who is told of a run, and that it goes on where nobody can be."""

import http.server
import json
import threading

from videojam_jax.train.alert import alert


def test_a_command_reads_one_line_of_json(tmp_path):
    alert(f"cat >> {tmp_path}/told", tmp_path, "diverged", message="step 7")
    alert("", tmp_path, "done")
    (row,) = map(json.loads, (tmp_path / "told").read_text().splitlines())
    assert row["event"] == "diverged" and row["message"] == "step 7"
    assert row["workdir"] == str(tmp_path) and row["time"] and row["host"]


def test_an_address_is_posted_to(tmp_path):
    posted = []

    class Pager(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("localhost", 0), Pager)
    threading.Thread(target=server.handle_request).start()
    alert(f"http://localhost:{server.server_port}/page", tmp_path, "stopped", step=4)
    server.server_close()
    assert json.loads(posted[0])["step"] == 4


def test_that_nobody_hears_is_a_warning(tmp_path, capsys):
    for target in ("exit 3", "http://localhost:1/nobody"):
        alert(target, tmp_path, "slow")
        assert f"warning: config.train.alert: {target}: " in capsys.readouterr().out
