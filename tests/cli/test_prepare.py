"""What `videojam prepare` says."""

import types

from videojam_jax.cli.prepare import _throughput
from videojam_jax.data.encode import Rates


def test_prepare_says_that_devices_waited_only_where_they_have_work():
    config = types.SimpleNamespace(clip=types.SimpleNamespace(frames=4))
    said = [_throughput(Rates(10, 2.0, waiting), config) for waiting in (None, 0.2, 0.91)]
    assert said[0] == "5.0 clips/s  20 frames/s"
    assert said[1] == said[0] + "  devices waited 20% of the time"
    assert said[2].endswith("waited 91% of the time; more config.prepare.workers may help")
