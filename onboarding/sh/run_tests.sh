#!/usr/bin/env bash
# Usage: run_tests.sh [--quick | pytest arguments]
#
# Runs the checks and all tests; makes the virtual environment first where there is none. With --quick only the
# checks and the tests that start nothing, within a minute.
# What a test needs and does not find (a daemon, a corpus) leaves it out, and the last line says what brings it;
# where ETL_REQUIRE_ALL_TESTS=1 it fails.
#
# Examples:
#   bash onboarding/sh/run_tests.sh
#   bash onboarding/sh/run_tests.sh tests/test_generic_import.py -k kill
set -euo pipefail

# What looks at the code and runs none of it.
check() {
  "$bin/ruff" check .
  "$bin/ruff" format --check .
  "$bin/lint-imports"
  "$bin/mypy"
}

main() {
  # shellcheck source=env.sh
  source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../../env.sh"
  [[ ${1:-} != -h && ${1:-} != --help ]] || usage 0
  cd "$ETL_PROJECT"
  bash onboarding/sh/make_venv.sh --dev
  local bin="$ETL_VENV/bin" told checks status=0
  if [[ $# -gt 0 && $* != --quick ]]; then
    exec "$bin/python" -m pytest "$@"
  fi
  say 'ruff, mypy and lint-imports run beside the tests; after these stands what they find'
  exec {told}< <(check 2>&1)
  checks=$!
  "$bin/python" -m pytest -n "${ETL_TEST_WORKERS:-$(($(nproc) + 1))}" --dist worksteal "$@" {told}<&- || status=$?
  told=$(cat <&"$told")
  wait "$checks" || {
    status=$?
    printf '%s\n' "$told"
  }
  return "$status"
}

main "$@"
