#!/usr/bin/env bash
# Delete log files older than 7 days.
#
# Usage: weekly_cleanup_logs.sh [--dry-run]
set -euo pipefail

# shellcheck source=env.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../env.sh"
through_the_door "$@"

patterns=('*_????????.txt' '*_????????.csv' '*_????????.html')
for pattern in "${patterns[@]}"; do
  bash "$ETL_PROJECT/jobscripts/delete_old_files.sh" "$@" "${ETL_LOGS_DIR:?}" "$pattern" 7
done
