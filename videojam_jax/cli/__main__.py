"""`python -m videojam_jax.cli` is `videojam`."""

import sys

from videojam_jax.cli.main import main

sys.exit(main())
