#!/usr/bin/env bash
# Cloud TPU slices by queued resources: create, copy, run, delete.
#   bash launch/tpu_vm.sh COMMAND --name NAME --zone ZONE [OPTIONS] [-- JOB ARGS...]
#
# COMMAND
#   create   ask for the slices and wait until they are there
#   copy     this repository to every worker, and install it
#   run      `videojam JOB ARGS...` on every worker until it is done, restarting it as needed;
#            interrupting this leaves the job running, and the same command looks on again
#   status   of the queued resource
#   logs     the last lines of every worker
#   stop     the job saves a checkpoint and ends
#   delete   the slices; nothing on their disks is kept
#   all      create, copy, run, delete; slices that are lost are asked for again
#
# OPTIONS
#   --name NAME           of the queued resource
#   --zone ZONE           where the type is offered
#   --type TYPE           of a slice: v5p-256, v5litepod-16, v6e-64, v4-32 ...
#   --slices N            default: 1
#   --bucket BUCKET       mounted at /bucket on every worker; needed with several workers
#   --project PROJECT     default: gcloud's
#   --spot | --reserved   default: on demand
#   --runtime VERSION     default: the one for the type
#   --create-flag FLAG    passed on to `gcloud ... create`, e.g. --create-flag=--network=mine;
#                         may be given several times
#   --max-restarts N      so many without a new checkpoint; default: MAX_RESTARTS or 20. Pauses
#                         between them, and limits of what fails to connect: launch/restarts.sh
#   --dry-run             print the commands and run none
#
# JOB is prepare, train, sample, report or evaluate; ARGS are those of `videojam JOB`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly wrong=2  # the status of a mistake: the same command would end the same way
readonly unreachable=255  # ssh's own status
readonly jobs="prepare, train, sample, report or evaluate"
readonly worker="bash videojam_jax/launch/tpu_worker.sh"
poll_seconds=${POLL_SECONDS:-30}

fail() {
  printf 'error: %s\n' "$1" >&2
  exit "$wrong"
}

# shellcheck source=launch/restarts.sh
source launch/restarts.sh

# The words as a shell would read them, in quotes only where they are needed.
quoted() {
  local word result="" plain='^[A-Za-z0-9_./:=,@%+-]+$' quote="'\\''"
  for word in "$@"; do
    [[ $word =~ $plain ]] || word="'${word//\'/$quote}'"
    result+="${result:+ }$word"
  done
  printf '%s' "$result"
}

# Shows a command and, unless this is a dry run, runs it.
call() {
  printf '$ %s\n' "$(quoted "$@")" >&3
  [[ -n $dry_run ]] || "$@"
}

tpus() {
  call gcloud compute tpus queued-resources "$@"
}

# The same command on every worker of every slice, all at once.
on_workers() {
  tpus ssh "$name" "${place[@]}" --node=all --worker=all --batch-size=all \
    --ssh-flag=-oServerAliveInterval=60 "--command=$1"
}

# The state of the queued resource: ACTIVE, WAITING_FOR_RESOURCES, SUSPENDED ...
state_of() {
  if [[ -n $dry_run ]]; then
    echo ACTIVE
  else
    gcloud compute tpus queued-resources describe "$name" "${place[@]}" \
      --format='value(state.state)'
  fi
}

create() {
  local nodes=("--node-id=$name")
  ((slices == 1)) || nodes=("--node-count=$slices" "--node-prefix=$name")
  echo "$slices x $type: $chips chips on $hosts worker(s) each, $((slices * chips)) chips" >&3
  tpus create "$name" "${place[@]}" "--accelerator-type=$type" "--runtime-version=$runtime" \
    "${nodes[@]}" ${tier:+"$tier"} ${create_flags[@]+"${create_flags[@]}"} \
    || fail "gcloud did not take the request, see above"
  local state before=""
  while :; do
    until state=$(state_of); do
      again "gcloud does not tell the state of $name" || return 1
      rest "$pause"
    done
    [[ $state == "$before" ]] || echo "$name: $state" >&3
    before=$state
    case $state in
      ACTIVE) return 0 ;;
      FAILED | SUSPENDING | SUSPENDED | DELETING) return 1 ;;
    esac
    sleep "$poll_seconds"
  done
}

copy() {
  local bundle
  bundle=$(mktemp -d)/videojam_jax.tar.gz
  call tar -czf "$bundle" --exclude=__pycache__ videojam_jax configs launch setup.py \
    pyproject.toml requirements.lock README.md || return 1
  tpus scp "$bundle" "$name:videojam_jax.tar.gz" "${place[@]}" --node=all --worker=all \
    --batch-size=all || return 1
  rm -rf "$(dirname "$bundle")"
  on_workers "mkdir -p videojam_jax && cd videojam_jax && rm -rf videojam_jax configs launch \
&& tar -xzf ../videojam_jax.tar.gz && bash launch/tpu_worker.sh setup $(quoted "$bucket")"
}

# Whether the slices are no longer there. A gcloud that does not answer says nothing of them.
taken_away() {
  local state
  state=$(state_of) && [[ $state != ACTIVE ]]
}

# Runs the job on all workers; the status is 0, 2, or the last one when it is given up.
run() {
  local status started=""
  while :; do
    status=0
    if [[ -z $started ]]; then
      start_all || status=$?
    fi
    if ((status == 0)); then
      started=yes
      wait_all || status=$?
    fi
    if ((status == 0 || status == wrong)); then
      return "$status"
    fi
    if taken_away; then
      echo "error: the slices of $name were taken away; 'all' would ask for them again" >&2
      return "$status"
    fi
    if ((status == unreachable)); then
      again "not all workers answer" || return "$status"
    else
      again "status $status, see 'logs'" || return "$status"
      started=""
    fi
    rest "$pause"
  done
}

# Starts the job where it does not already run: 0, 2, or `unreachable`.
start_all() {
  local report status=0
  report=$(on_workers "$worker start $(quoted "${job[@]}")") || status=$?
  [[ -z $dry_run ]] || return 0
  note_answers "$report"
  # The status of a worker; anything else is a connection that failed.
  ((status == 0 || status == wrong)) || status=$unreachable
  return "$status"
}

# Waits for all workers: 0 when all are done, 2 when one says that something is to be put right,
# `unreachable` when not all answer, else the highest status.
wait_all() {
  local report answers
  report=$(on_workers "$worker wait") || true
  [[ -z $dry_run ]] || return 0
  note_answers "$report"
  answers=$(grep -c '^worker status ' <<<"$report") || true
  if ((answers < hosts * slices)); then
    echo "$answers of $((hosts * slices)) workers answered" >&2
    return "$unreachable"
  fi
  ! grep -qx "worker status $wrong" <<<"$report" || return "$wrong"
  return "$(sed -n 's/^worker status //p' <<<"$report" | sort -n | tail -n 1)"
}

# How far the job has come, as the workers tell.
note_answers() {
  local progress
  progress=$(sed -n 's/^worker progress //p' <<<"$1" | sort -n | tail -n 1)
  note_progress "${progress:-0}"
}

all() {
  local status
  trap 'echo "error: interrupted; $name is still there and is paid for until it is deleted" >&2
exit 130' INT TERM
  while :; do
    status=75
    if create; then
      copy || fail "cannot copy to $name, which is still there; delete it, or go on with copy"
      status=0
      run || status=$?
    fi
    if ((status == 0 || status == wrong)) || ! taken_away; then
      break
    fi
    again "the slices were taken away" || break
    delete
    rest "$pause"
  done
  on_workers "$worker logs" || true
  delete
  return "$status"
}

delete() {
  tpus delete "$name" "${place[@]}" --force --quiet \
    || fail "$name may still be there, and is paid for until it is deleted"
}

command=${1:-}
case $command in
  create | copy | run | status | logs | stop | delete | all) shift ;;
  *) fail "COMMAND is '$command' but must be create, copy, run, status, logs, stop, delete \
or all: launch/tpu_vm.sh COMMAND --name NAME --zone ZONE ..." ;;
esac

name="" zone="" project="" type="" runtime="" bucket="" tier="" dry_run=""
slices=1 create_flags=() job=()
while (($#)); do
  case $1 in
    --) shift && job=("$@") && break ;;
    --spot | --reserved) tier=$1 && shift && continue ;;
    --dry-run) dry_run=yes && shift && continue ;;
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
  esac
  (($# > 1)) || fail "$1 needs a value"
  case $1 in
    --name) name=$2 ;;
    --zone) zone=$2 ;;
    --project) project=$2 ;;
    --type) type=$2 ;;
    --runtime) runtime=$2 ;;
    --slices) slices=$2 ;;
    --bucket) bucket=${2#gs://} ;;
    --create-flag) create_flags+=("$2") ;;
    --max-restarts) max_restarts=$2 ;;
    *) fail "unknown option $1 (the job and its arguments come after --)" ;;
  esac
  shift 2
done
bucket=${bucket%/}

[[ -n $name ]] || fail "$command needs --name"
[[ -n $zone ]] || fail "$command needs --zone"
[[ $slices =~ ^[1-9][0-9]*$ ]] || fail "--slices is '$slices' but must be 1 or more"
[[ $max_restarts =~ ^[0-9]+$ ]] || fail "--max-restarts is '$max_restarts' but must be 0 or more"
place=("--zone=$zone" ${project:+"--project=$project"})

if [[ $command == create || $command == run || $command == all ]]; then
  # The number in a type counts chips, or for v4 and v5p the two cores of each chip.
  case $type in
    v4-*) cores=2 default_runtime=tpu-ubuntu2204-base ;;
    v5p-*) cores=2 default_runtime=v2-alpha-tpuv5 ;;
    v5litepod-*) cores=1 default_runtime=v2-alpha-tpuv5-lite ;;
    v6e-*) cores=1 default_runtime=v2-alpha-tpuv6e ;;
    "") fail "$command needs --type, e.g. v5litepod-16 or v5p-256" ;;
    *) fail "--type is '$type' but must be v4-N, v5p-N, v5litepod-N or v6e-N" ;;
  esac
  runtime=${runtime:-$default_runtime}
  size=${type#*-}
  [[ $size =~ ^[1-9][0-9]*$ ]] || fail "--type is '$type', whose '$size' is no number"
  chips=$((size / cores))
  # Four chips to a worker; slices of 8 chips of the one-core kinds are one worker.
  hosts=$(((chips + 3) / 4))
  ((cores == 2 || chips != 8)) || hosts=1
  ((chips * cores == size && chips > 0 && (chips < 4 || chips % 4 == 0))) \
    || fail "--type is '$type', but there is no slice of that size"
fi

if [[ $command == run || $command == all ]]; then
  case ${job[0]:-} in
    prepare | train | sample | report | evaluate) ;;
    *) fail "JOB is '${job[0]:-}' but must be $jobs: ... $command ... -- JOB ARGS..." ;;
  esac
  words=" ${job[*]} "
  [[ $words == *" --workdir"[\ =]* ]] || fail "${job[0]} needs --workdir DIR"
  [[ $words != *" --workdir"[\ =]"gs://"* ]] \
    || fail "--workdir is a bucket; give --bucket before the --, and --workdir /bucket/DIR"
  if ((hosts * slices > 1)); then
    [[ $words == *" --workdir"[\ =]"/bucket/"* ]] \
      || fail "--workdir must be in /bucket: $((hosts * slices)) workers share no other folder"
    [[ -n $bucket || $command == run ]] || fail "$command needs --bucket, which the workers share"
  fi
fi
# Where commands are shown: a dry run's are its result, others go beside a command's output.
if [[ -n $dry_run ]]; then
  exec 3>&1
else
  exec 3>&2
  command -v gcloud >/dev/null \
    || fail "no 'gcloud' command: https://cloud.google.com/sdk/docs/install"
fi

case $command in
  status) tpus describe "$name" "${place[@]}" ;;
  logs) on_workers "$worker logs" ;;
  stop) on_workers "$worker stop" ;;
  *) "$command" ;;
esac
