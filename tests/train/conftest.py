import pytest
import tiny_run


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder that holds prepared clips in `data`; runs go beside it."""
    root = tmp_path_factory.mktemp("runs")
    status, said = tiny_run.here_alone(*tiny_run.words("prepare", "--workdir", root / "data"))
    assert status == 0, said
    return root
