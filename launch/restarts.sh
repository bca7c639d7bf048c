# shellcheck shell=bash
# Sourced by every launcher of this folder: whether a job is started again, and after which pause.
#
# What ends with 0 is done, and with 2 a person has to mend it. All else is started again: 75
# (stopped, a process lost, a disk that did not answer), 1 (a fault of ours), and what a signal
# ended. Only those starts count that bring no new checkpoint, so that a run which is preempted
# every day goes on for ever, and one that cannot work ends.
#
# Their limits, each a whole number:
#   MAX_RESTARTS        20    so many without a new checkpoint, and no more
#   RESTART_PAUSE       10    seconds before the first of these; each further one waits twice as long
#   RESTART_PAUSE_MAX   600   and none longer than this
# and, for tests, RESTART_SECOND: how long such a second lasts, as `sleep` takes it.
#
# Whoever sources this has a function `fail MESSAGE`. Works with bash 3.2, which macOS has.

max_restarts=${MAX_RESTARTS:-20}
restart_pause=${RESTART_PAUSE:-10}
restart_pause_max=${RESTART_PAUSE_MAX:-600}

check_limits() {
  local word
  for word in "MAX_RESTARTS $max_restarts" "RESTART_PAUSE $restart_pause" \
    "RESTART_PAUSE_MAX $restart_pause_max"; do
    [[ $word =~ ^[A-Z_]+\ [0-9]{1,9}$ ]] \
      || fail "${word%% *} is '${word#* }' but must be a whole number"
  done
}
check_limits

# The starts without a new checkpoint, and how far the job was when the last of these came.
restarts=0
reached=0
# Seconds until the start that `again` has allowed.
pause=0

# The folder of a job, from JOB ARGS...
workdir_of() {
  local word before="" found=""
  for word in "$@"; do
    case $before in --workdir) found=$word ;; esac
    case $word in --workdir=*) found=${word#--workdir=} ;; esac
    before=$word
  done
  printf '%s' "$found"
}

# How far JOB ARGS... has come, as a number that grows: the newest step of whole checkpoints (of
# all runs together for `evaluate`), or how many shards are whole for `prepare`. Of any other job
# nothing is known. One listing of a folder, so that it is cheap on a mounted bucket.
progress_of() (
  shopt -s nullglob
  workdir=$(workdir_of "$@")
  paths=() newest=0 total=0 before=""
  case ${workdir:+$1} in
    train) paths=("$workdir"/checkpoints/*) ;;
    evaluate) paths=("$workdir"/*/checkpoints/* "$workdir"/*/*/checkpoints/*) ;;
    prepare) paths=("$workdir"/*.array_record) && total=${#paths[@]} ;;
  esac
  for path in ${paths[@]+"${paths[@]}"}; do
    folder=${path%/*} step=${path##*/}
    [[ $step =~ ^[0-9]+$ ]] || continue # one that is being written, or was damaged
    [[ $folder == "$before" ]] || { total=$((total + newest)) && newest=0 && before=$folder; }
    ((10#$step <= newest)) || newest=$((10#$step))
  done
  echo $((total + newest))
)

# Takes note of what `progress_of` says now: what is new sets the count back.
note_progress() {
  if (($1 > reached)); then
    reached=$1 restarts=0
  fi
}

# Counts one more start, for the reason $1; fails when it is one too many.
again() {
  restarts=$((restarts + 1))
  allowed "$1"
}

# As `again`, of a start that was counted already.
allowed() {
  local i now
  now=$(date -u +%FT%TZ)
  if ((restarts > max_restarts)); then
    echo "$now error: $1; started again $max_restarts times (MAX_RESTARTS) without a new" \
      "checkpoint, and not once more" >&2
    return 1
  fi
  pause=$restart_pause
  for ((i = 1; i < restarts && pause < restart_pause_max; i++)); do
    pause=$((pause * 2))
  done
  ((pause <= restart_pause_max)) || pause=$restart_pause_max
  echo "$now restart $restarts of $max_restarts without a new checkpoint, in $pause s: $1" >&2
}

# Waits for so many seconds, one by one: a trap is heard after each. Where the launcher counts
# the `signals` that it was sent, the first one ends the waiting.
rest() {
  local left
  for ((left = $1; left > 0; left--)); do
    ((${signals:-0} == 0)) || return 0
    sleep "${RESTART_SECOND:-1}"
  done
}
