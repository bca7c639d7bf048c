"""`videojam bench raft`: every row is a rate that was measured."""

import json

import tiny_run

from videojam_jax.bench import raft


def test_each_size_and_dtype_is_a_row_with_its_rate(monkeypatch, tmp_path):
    asked = []

    def rate(*arguments):
        asked.append(arguments)
        return float(len(asked))

    monkeypatch.setattr(raft, "raft_rate", rate)
    words = "bench raft --height 64 --width 48 --pairs 2 --updates 3 --seconds 0.5 --json".split()
    status, said = tiny_run.here(*words, tmp_path / "rows.json")
    assert status == 0, said
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["pairs_per_s"] for row in rows] == [1.0, 2.0, 3.0, 4.0]
    assert asked[1] == ("large", "bfloat16", 64, 48, 2, 3, 0.5)
    assert "raft small float32, 64 x 48, 2 pairs, 3 updates" in said


def test_a_rate_counts_pairs_a_second():
    found = raft.raft_rate("small", "float32", 64, 64, pairs=1, updates=1, seconds=0.0)
    assert 0 < found < 1000


def test_it_takes_no_config():
    status, said = tiny_run.here("bench", "raft", "--config", tiny_run.CONFIG)
    assert status == 2 and "it has no config" in said
