#!/usr/bin/env bash
# Delete the files of one directory that match a pattern and are older than a number of days.
#
# Usage: delete_old_files.sh [--dry-run] DIRECTORY PATTERN DAYS
#
# It deletes only plain files directly in DIRECTORY whose name fits the glob PATTERN; links, hidden files
# and subdirectories are left alone. With --dry-run it only says what it would delete. If the clock leapt,
# it deletes nothing for some days (status 75), because the clock may be wrong.
#
# Example:
#   run_python_etl_script.sh delete_old_files.sh --dry-run /srv/etl/archive '*_MeetMax_*.xls' 7
set -euo pipefail

# shellcheck source=env.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../env.sh"
through_the_door "$@"

main() {
  local dry_run=no
  if [[ ${1:-} == --dry-run ]]; then
    dry_run=yes
    shift
  fi
  [[ $# -eq 3 ]] || fail "it takes a directory, a pattern and a number of days; there was: $*" 64
  local directory=$1 pattern=$2 days=$3
  [[ $days =~ ^[0-9]{1,4}$ ]] || fail "the age is '$days'; it must be a whole number of days" 64
  [[ -n $pattern && $pattern != */* ]] || fail "the pattern is '$pattern'; it must be a file name with * or ?" 64
  [[ $directory == /* && -d $directory ]] || fail "'$directory' is not an absolute path of a directory" 64
  directory=$(readlink -f -- "$directory")
  [[ $directory == /*/* ]] || fail "'$directory' is too near the root of the file system" 64

  [[ $dry_run == yes ]] || "$ETL_VENV/bin/python" -P -m systemscripts.clock || exit
  local action=(-delete -printf 'deleted %p\0') line
  [[ $dry_run == yes ]] && action=(-printf 'would delete %p\0')
  # -mmin, because -mtime counts whole days and would keep a file for almost one day more.
  find "$directory" -mindepth 1 -maxdepth 1 -type f -name "$pattern" ! -name '.*' -mmin "+$((10#$days * 1440))" "${action[@]}" |
    while IFS= read -r -d '' line; do say "$line"; done
}

main "$@"
