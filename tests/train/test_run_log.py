"""What a run keeps of its metrics when it is resumed."""

import json

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
    assert rows == [{"step": 5, "loss": 0.2}, {"step": 10, "loss": 0.1}, {"step": 15, "loss": 7.0}]
