"""What a run keeps of its metrics when it is resumed."""

import errno
import json
import time

from videojam_jax.train.run_log import RunLog


def test_a_resumed_run_keeps_its_lines_up_to_its_step_and_forgets_the_later_ones(tmp_path):
    log = RunLog(tmp_path, 0)
    for step in (5, 10, 15):
        log.scalars(step, {"loss": 1.0 / step})
    log.close()
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 20, "lo')  # torn by a kill
    log = RunLog(tmp_path, 10)
    log.scalars(15, {"loss": 7.0})
    log.close()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    times = [row.pop("time") for row in rows]
    assert rows == [{"step": 5, "loss": 0.2}, {"step": 10, "loss": 0.1}, {"step": 15, "loss": 7.0}]
    assert times == sorted(times) and abs(times[-1] - time.time()) < 60


def test_a_line_that_cannot_be_written_is_told_of_and_ends_nothing(tmp_path, capsys):
    class Stale:
        def write(self, text):
            raise OSError(errno.ESTALE, "Stale file handle")

        def close(self):
            pass

    log = RunLog(tmp_path, 0)
    log._file, whole = Stale(), log._file
    log.scalars(5, {"loss": 1.0})
    log._file = whole
    log.scalars(10, {"loss": 0.5})
    log.close()
    assert "metrics.jsonl: step 5 is not in it (Stale file handle)" in capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10]
