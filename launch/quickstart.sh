#!/usr/bin/env bash
# From the base that comes with the package to VideoJAM, on any machine with Python: simulated
# clips -> control and VideoJAM, fine-tuned side by side -> samples, measured -> an HTML report.
#   bash launch/quickstart.sh [FOLDER]        (default: quickstart_out)
# Run it again after an interruption: what is finished is not done twice.
set -euo pipefail
out=${1:-quickstart_out}
[[ $out == /* ]] || out=$PWD/$out
# shellcheck source=launch/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
out=${out#"$PWD"/}

run() {
  printf '\n$ %s\n' "$*"
  "$@"
}

run videojam evaluate --config configs/experiments/ablation.py:quickstart --workdir "$out"
