"""How a job starts, or does not."""

import pytest
import tiny_run

from videojam_jax import lock


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (".", ["train", "--config", tiny_run.CONFIG]),
        ("ablation", tiny_run.experiment("ablation")),
        ("seed_0/control", tiny_run.experiment("ablation")),
    ],
    ids=["a run", "an experiment", "a run that an experiment is to train"],
)
def test_what_another_run_works_in_is_refused_in_one_line(held, words, tmp_path):
    with lock.alone([tmp_path / held]):
        status, out = tiny_run.here(*words, "--workdir", tmp_path)
        assert status == 2 and len(out.splitlines()) == 1, out
        said = f"videojam: error: {tmp_path / held}: another run is at work here: process "
        assert out.startswith(said)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []
