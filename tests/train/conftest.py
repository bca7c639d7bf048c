import pytest
import tiny_run


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder that holds prepared clips in `data`; runs go beside it."""
    root = tmp_path_factory.mktemp("runs")
    words = tiny_run.command("prepare", "--workdir", root / "data")[3:]
    status, said = tiny_run.here_alone(*words)
    assert status == 0, said
    return root
