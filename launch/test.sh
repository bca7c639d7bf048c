#!/usr/bin/env bash
# Sets everything up and runs the default tests; what follows goes to pytest.
#   bash launch/test.sh
#   bash launch/test.sh tests/diffusion -k schedule
#   bash launch/test.sh -m slow
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# The default tests share the cores; those chosen by a mark start processes of their own, or
# measure, and run one after the other.
workers=(-n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder)
for word in "$@"; do
  case $word in -m* | -n* | --pdb | *.py*) workers=() ;; esac
done
exec "$python" -m pytest ${workers[@]+"${workers[@]}"} "$@"
