#!/usr/bin/env bash
# Usage: install_tools.sh DIR
#
# Makes a virtual environment in DIR with the Python tools that the benchmarks compare with, apart
# from the project's own. pgloader and ssconvert are programs of the system:
#   sudo apt-get install pgloader gnumeric
set -euo pipefail

PACKAGES=(
  adbc-driver-postgresql csvkit 'dlt[postgres]' duckdb fastexcel openpyxl pandas psycopg2-binary pyarrow sqlalchemy xlrd
  xlsx2csv
)

usage() {
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
}

main() {
  case ${1:-} in
  -h | --help)
    usage
    exit 0
    ;;
  '' | -*)
    usage >&2
    exit 64
    ;;
  esac
  python3 -m venv "$1"
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check "${PACKAGES[@]}"
  local program
  for program in pgloader ssconvert; do
    command -v "$program" >/dev/null ||
      printf '%s is not installed; type: sudo apt-get install pgloader gnumeric\n' "$program"
  done
  printf 'now: venv/bin/python benchmarks/import_csv.py --tools %s\n' "$1"
}

main "$@"
