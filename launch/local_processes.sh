#!/usr/bin/env bash
# Runs one job as N processes on this machine, as a cluster would run it on N hosts.
#   bash launch/local_processes.sh N [OPTIONS] JOB ARGUMENTS...
#   bash launch/local_processes.sh 2 train --config configs/quickstart.py --workdir out/videojam
# Options:
#   --devices K    CPU devices of each process (by default the GPUs of this machine are
#                  divided; without any, each process has one CPU device)
#   --restarts R   start all again when they end in anything but success or an error to put
#                  right: after a signal, or the loss of one of them. Up to R times without a
#                  new checkpoint, with pauses (launch/restarts.sh); by default MAX_RESTARTS or 0
#   --dry-run      say what would be run
# Lines of output begin with the number of their process: all that process 0 prints, and the
# errors of the others, the rest of which is in WORKDIR/logs. SIGTERM and Ctrl-C are passed on to
# all. Exit status: 0 if all ended well; 2 if any has found something to put right, or the words
# above are wrong; else 75: run the same command to go on.
set -uo pipefail
here=$PWD
# shellcheck source=launch/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
launch=$PWD/launch
cd "$here" || fail "cannot enter $here"
MAX_RESTARTS=${MAX_RESTARTS:-0}
# shellcheck source=launch/restarts.sh
source "$launch/restarts.sh"

usage() {
  fail "$1; usage: local_processes.sh N [--devices K] [--restarts R] [--dry-run] JOB ARGUMENTS..."
}

whole_number() {
  [[ ${2-} =~ ^[0-9]+$ ]] || usage "$1 should be a whole number, not '${2-}'"
}

processes=${1-}
whole_number N "$processes"
((processes > 0)) || usage "N should be at least 1"
shift
devices='' dry_run=''
while [[ ${1-} == --* ]]; do
  case $1 in
    --devices) whole_number "$1" "${2-}" && devices=$2 && shift 2 ;;
    --restarts) whole_number "$1" "${2-}" && max_restarts=$2 && shift 2 ;;
    --dry-run) dry_run=yes && shift ;;
    *) usage "unknown option $1" ;;
  esac
done
(($#)) || usage "no JOB"

# --- devices: those of the CPU, or a share of the GPUs ---------------------------------
gpus=0
if [[ -z $devices && ${JAX_PLATFORMS:-cuda} == cuda* ]]; then
  gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU') || gpus=0
fi
if ((gpus == 0)); then
  export JAX_PLATFORMS=cpu
  count=--xla_force_host_platform_device_count
  flags=" ${XLA_FLAGS-} "
  if [[ -n $devices || $flags != *" $count="* ]]; then
    export XLA_FLAGS="${XLA_FLAGS-} $count=${devices:-1}" # the last one counts
  fi
elif ((gpus % processes)); then
  usage "$gpus GPUs do not divide over $processes processes (--devices K takes the CPU)"
fi

environment_of() { # process, port
  printf '%s\n' "VIDEOJAM_COORDINATOR=localhost:$2" "VIDEOJAM_PROCESSES=$processes" \
    "VIDEOJAM_PROCESS=$1"
  if ((gpus)); then
    local share=$((gpus / processes))
    printf 'CUDA_VISIBLE_DEVICES=%s\n' "$(seq -s, $(($1 * share)) $((($1 + 1) * share - 1)))"
  fi
}

free_port() {
  "$python" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'
}

if [[ -n $dry_run ]]; then
  for ((i = 0; i < processes; i++)); do
    echo "$(environment_of "$i" PORT | paste -sd' ') videojam $*"
  done
  exit
fi

# --- the group: started together, waited for together ----------------------------------
exec {silence}>/dev/null
pids=() signals=0
trap 'signals=$((signals + 1)); kill -TERM "${pids[@]}" 2>/dev/null' TERM INT

with_number() {
  while IFS= read -r line || [[ -n $line ]]; do
    printf '[%s] %s\n' "$1" "$line"
  done
}

run_group() {
  local port output lines i status before result=0 readers=()
  port=$(free_port) || fail "no free port on this machine"
  pids=()
  for ((i = 0; i < processes; i++)); do
    mapfile -t variables < <(environment_of "$i" "$port")
    exec {output}> >(trap '' TERM INT && with_number "$i")
    readers+=($!)
    # They share a terminal, and most lines are said by all alike.
    lines=$output
    ((i == 0)) || lines=$silence
    env "${variables[@]}" videojam "$@" 1>&"$lines" 2>&"$output" &
    pids+=($!)
    exec {output}>&-
  done
  for i in "${!pids[@]}"; do
    # A signal that is passed on interrupts the waiting, not the process.
    until before=$signals; wait "${pids[i]}"; status=$?; ((signals == before)); do :; done
    echo "process $i ended with status $status" >&2
    if ((status == 2 || result == 2)); then
      result=2
    elif ((status)); then
      result=75
    fi
  done
  wait "${readers[@]}"
  pids=()
  return "$result"
}

note_progress "$(progress_of "$@")"
while :; do
  run_group "$@"
  status=$?
  ((status == 75 && signals == 0 && max_restarts > 0)) || break
  note_progress "$(progress_of "$@")"
  again "status $status" || break
  rest "$pause"
  ((signals == 0)) || break
done
exit "$status"
