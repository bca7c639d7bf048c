#!/usr/bin/env bash
# What tpu_vm.sh runs on each worker of the slices, in its copy of the repository:
#   setup [BUCKET]      install the package; remember the bucket
#   start JOB ARGS...   run `videojam JOB ARGS...` in the background, unless it already runs;
#                       print "worker progress N", of launch/restarts.sh
#   wait                until that has ended, then print the same and "worker status N"
#   stop                SIGTERM: the job saves and ends with status 75
#   logs                the end of what the job has said
# The job does not depend on the connection it was started from. Whoever waits for it waits
# for a lock that it holds, which the kernel gives back however the job ends.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

state=$HOME/videojam_run
mount=/bucket

fail() {
  printf 'error: %s: %s\n' "$(hostname)" "$1" >&2
  exit 2
}

# shellcheck source=launch/restarts.sh
source launch/restarts.sh

setup() {
  mkdir -p "$state"
  printf '%s' "${1:-}" >"$state/bucket"
  # The system's Python is 3.10 on most TPU VM images; uv brings a 3.11 of its own.
  if [[ ! -x .venv/bin/python ]]; then
    python3 -m pip install --quiet --user uv
    "$HOME/.local/bin/uv" venv --quiet --seed --python 3.11 .venv
  fi
  .venv/bin/python -m pip install --quiet --constraint requirements.lock --editable '.[tpu]'
  mount_bucket
}

# Nothing is cached of what is in the bucket: each worker must see what another has just written.
mount_bucket() {
  local bucket
  bucket=$(cat "$state/bucket" 2>/dev/null) || fail "not set up: tpu_vm.sh copy comes first"
  if [[ -z $bucket ]] || mountpoint -q "$mount"; then
    return
  fi
  command -v gcsfuse >/dev/null || install_gcsfuse
  sudo mkdir -p "$mount"
  sudo chown "$(id -un)" "$mount"
  gcsfuse --metadata-cache-ttl-secs=0 --metadata-cache-negative-ttl-secs=0 "$bucket" "$mount" \
    >"$state/gcsfuse.log" 2>&1 \
    || fail "cannot mount the bucket $bucket: $(tail -n 1 "$state/gcsfuse.log")"
}

install_gcsfuse() {
  local key=/usr/share/keyrings/cloud.google.asc host=https://packages.cloud.google.com/apt
  curl -fsSL "$host/doc/apt-key.gpg" | sudo tee "$key" >/dev/null
  echo "deb [signed-by=$key] $host gcsfuse-$(lsb_release -cs) main" \
    | sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
  sudo apt-get update -qq
  sudo apt-get install -qq -y gcsfuse >/dev/null
}

start() {
  local words
  words=$(printf '%q ' "$@")
  mount_bucket
  printf 'worker progress %s\n' "$(progress_of "$@")"
  exec 9>>"$state/lock"
  if ! flock -n 9; then
    [[ $(cat "$state/command") == "$words" ]] \
      || fail "still runs 'videojam $(cat "$state/command")'; tpu_vm.sh stop comes first"
    return
  fi
  rm -f "$state/status"
  printf '%s' "$words" >"$state/command"
  if [[ -s $state/bucket ]]; then
    # Only process 0 writes compiled programs, so that others find them only where all look.
    export JAX_COMPILATION_CACHE_DIR=$mount/xla_cache
  fi
  printf '\n$ videojam %s\n' "$words" >>"$state/log"
  # The child inherits the lock. Its shell outlives SIGTERM to note how the job ended.
  # shellcheck disable=SC2016  # expanded by that shell
  setsid bash -c 'trap : TERM; "$@"; echo "$?" >"$0"' "$state/status" .venv/bin/videojam "$@" \
    >>"$state/log" 2>&1 </dev/null &
  printf '%s' "$!" >"$state/group"
}

await() {
  local status words
  flock "$state/lock" true
  eval "words=($(cat "$state/command"))" # as `start` has quoted them
  printf 'worker progress %s\n' "$(progress_of "${words[@]}")"
  # Without a status the machine was restarted, or the shell above was killed.
  status=$(cat "$state/status" 2>/dev/null) || status=137
  printf 'worker status %s\n' "$status"
}

stop() {
  if ! flock -n "$state/lock" true; then
    kill -TERM -- "-$(cat "$state/group")"
  fi
}

logs() {
  tail -n 40 "$state/log" | sed "s/^/$(hostname): /"
}

case ${1:-} in
  setup | start | stop | logs) "$@" ;;
  wait) await ;;
  *) fail "COMMAND is '${1:-}' but must be setup, start, wait, stop or logs" ;;
esac
