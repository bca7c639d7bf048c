# shellcheck shell=bash
# Sourced by the other scripts of this folder: leaves the current directory at the
# root of the repository, and in $python and $PATH an environment that has this
# package and everything it needs.
#
# An active environment (VIRTUAL_ENV or CONDA_PREFIX) is used as it is and installed
# into; else .venv in the root is made or reused. Nothing needs root. When nothing
# has changed since the last time, this takes a fraction of a second.

fail() {
  printf 'error: %s\n' "$1" >&2
  exit 2 # for a person to mend
}

# True if $1 runs and is recent enough. Running it is the only test that counts: a
# name on the PATH may be a shim that only says which version is missing.
is_recent() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# The pinned versions were taken on 3.11, so that one is tried first.
find_python() {
  local name
  for name in python3.11 python3.12 python3.13 python3.14 python3 python; do
    if command -v "$name" >/dev/null 2>&1 && is_recent "$name"; then
      printf '%s\n' "$name"
      return
    fi
  done
  return 1
}

# True if the environment of $1 can install packages, if need be after giving it pip.
has_pip() {
  "$1" -m pip --version >/dev/null 2>&1 || "$1" -m ensurepip >/dev/null 2>&1
}

make_venv() {
  local base
  base=$(find_python) || fail "no Python 3.11 or newer on the PATH; install one, e.g. from \
https://www.python.org/downloads or with 'conda create -n videojam python=3.11'"
  echo "Making the environment .venv with $("$base" --version)"
  "$base" -m venv --clear .venv >/dev/null 2>&1 || fail "'$base -m venv .venv' does not work \
here; on Debian and Ubuntu: 'sudo apt install python3-venv', or activate a conda environment"
}

# Everything that, when it changes, asks for another install.
fingerprint() {
  "$python" - "$PWD" <<'PY'
import hashlib, pathlib, sys

state = hashlib.sha256(f"{sys.argv[1]} {sys.version}".encode())
for name in ("setup.py", "pyproject.toml", "requirements.lock", "launch/environment.sh"):
    state.update(pathlib.Path(name).read_bytes())
print(state.hexdigest())
PY
}

install_package() {
  local pip=("$python" -m pip --disable-pip-version-check --quiet)
  echo "Installing into $prefix (a minute or two the first time)"
  if "$python" -c 'import sys; sys.exit((sys.version_info[:2], sys.platform) != ((3, 11), "linux"))'
  then
    "${pip[@]}" install -r requirements.lock && "${pip[@]}" install --no-deps -e .
  else
    "${pip[@]}" install -e '.[test]'
  fi || fail "pip could not install the packages, see above; run this again when that is mended"
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || fail "cannot enter $root"

prefix=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
if [[ -n $prefix ]]; then
  python=$prefix/bin/python
  is_recent "$python" || fail "the active environment $prefix has no Python 3.11 or newer; \
deactivate it, or activate one that has, and run this again"
  has_pip "$python" || fail "the active environment $prefix has no pip; install it there, or \
deactivate the environment, and run this again"
else
  prefix=$root/.venv
  python=$prefix/bin/python
  # A .venv that does not run, or cannot be given pip, was left half made.
  { is_recent "$python" && has_pip "$python"; } || make_venv
fi
export PATH="$prefix/bin:$PATH"

stamp=$prefix/.videojam_jax
state=$(fingerprint) || fail "cannot read setup.py or requirements.lock in $root"
if [[ $(cat "$stamp" 2>/dev/null) != "$state" ]]; then
  install_package
  printf '%s\n' "$state" >"$stamp" || fail "cannot write $stamp"
fi
