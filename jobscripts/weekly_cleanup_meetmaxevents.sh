#!/usr/bin/env bash
# Delete archived MeetMax files older than 7 days.
#
# Usage: weekly_cleanup_meetmaxevents.sh [--dry-run]
#
# It looks directly in the archive, and directly in the archive_directory of each MeetMax import that lies below it.
set -euo pipefail

# shellcheck source=env.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../env.sh"
through_the_door "$@"

pattern='????????T??????_MeetMax*.*'
archive=$(readlink -f -- "${ETL_ARCHIVE_DIR:?}")

# Prints each directory, NUL after it: what stands in a row is only a name here.
archive_directories() {
  "$ETL_VENV/bin/python" -P -m systemscripts.db_config run psql -X -A -t -0 -c \
    "SELECT DISTINCT archive_directory FROM dba.timportconfig WHERE datasource = 'MeetMax'" </dev/null
}

clean_up() { bash "$ETL_PROJECT/jobscripts/delete_old_files.sh" "${options[@]}" "$1" "$pattern" 7 || worst=$?; }

options=("$@")
list=$(mktemp)
trap 'rm -f -- "$list"' EXIT
archive_directories >"$list"
mapfile -d '' -t directories <"$list"
clean_up "$archive"
for directory in "${directories[@]}"; do
  real=$(readlink -e -- "${directory%$'\n'}") || continue
  # Nothing outside of the archive is touched, by a link neither.
  [[ $real != "$archive"/* ]] || clean_up "$real"
done
exit "$worst"
