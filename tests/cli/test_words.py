"""Which configs a job takes."""

import pytest
import tiny_run


@pytest.mark.parametrize("job", ["prepare", "plan"])
def test_a_config_of_an_autoencoder_is_for_train_alone(job, tmp_path):
    config = str(tiny_run.ROOT / "configs" / "tae_small.py:tiny")
    rest = ["--workdir", tmp_path] if job == "prepare" else ["--platform", "cpu:1"]
    status, said = tiny_run.here(job, "--config", config, *rest)
    assert status == 2 and "this trains an autoencoder" in said.splitlines()[-1], said
