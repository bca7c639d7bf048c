#!/usr/bin/env bash
# Sets everything up and runs the default tests; what follows goes to pytest.
#   bash launch/test.sh
#   bash launch/test.sh tests/diffusion -k schedule
#   bash launch/test.sh -m slow
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

exec "$python" -m pytest "$@"
