import pytest
import tiny_run


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder that holds prepared clips in `data`; runs go beside it."""
    root = tmp_path_factory.mktemp("runs")
    done = tiny_run.run("prepare", "--workdir", root / "data")
    assert done.returncode == 0, done.stderr
    return root
