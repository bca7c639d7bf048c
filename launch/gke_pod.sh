#!/usr/bin/env bash
# What each pod of gke_jobset.yaml runs:  bash launch/gke_pod.sh JOB ARGS...
# is `videojam JOB ARGS...`, after the pause that launch/restarts.sh says, or status 2 when it says
# that there were enough starts. JobSet itself starts all pods again without a pause, and cannot
# see whether a start brought a checkpoint.
#
# All pods of a start come to the same count: from WORKDIR/restarts, where the first pod notes it,
# or, until it has, from what that said of the start before.
set -euo pipefail

fail() {
  printf 'error: %s\n' "$1" >&2
  exit 2
}

# shellcheck source=launch/restarts.sh
source "$(dirname "${BASH_SOURCE[0]}")/restarts.sh"

# This is process 1 of its container, which hears no signal that it does not ask for.
trap 'exit 75' TERM
start=${JOBSET_RESTART_ATTEMPT:-0}
workdir=$(workdir_of "$@")
progress=$(progress_of "$@")
before=$(cat "$workdir/restarts" 2>/dev/null) || :
if ((start > 0)) && [[ $before =~ ^([0-9]+)\ ([0-9]+)\ ([0-9]+)$ ]]; then
  noted=${BASH_REMATCH[1]} restarts=${BASH_REMATCH[2]} reached=${BASH_REMATCH[3]}
else
  note_progress "$progress"
fi
if ((start > 0)); then
  if ((start != ${noted:--1})); then
    note_progress "$progress"
    restarts=$((restarts + 1))
  fi
  allowed "start $start of the JobSet, see $workdir/logs" || exit 2
fi
if [[ ${JOBSET_JOB_INDEX:-0} == 0 && ${JOB_COMPLETION_INDEX:-0} == 0 ]]; then
  mkdir -p "$workdir" && echo "$start $restarts $reached" >"$workdir/restarts" \
    || echo "warning: cannot write $workdir/restarts, so starts are not counted" >&2
fi
rest "$pause"
trap - TERM
exec videojam "$@"
