#!/usr/bin/env bash
# Trains a small VideoJAM from nothing and shows what it made, on any machine with
# Python: simulated clips -> base model -> VideoJAM -> an HTML report.
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

run videojam prepare --config configs/quickstart.py --workdir "$out/data"
run videojam train --config configs/quickstart.py:base --workdir "$out/base"
run videojam train --config configs/quickstart.py:videojam --workdir "$out/videojam"
run videojam report --workdir "$out"
