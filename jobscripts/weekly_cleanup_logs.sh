#!/usr/bin/env bash
# Delete log files older than 7 days, and begin a new one for what cron's jobs print.
#
# Usage: weekly_cleanup_logs.sh [--dry-run]
#
# etl_cron.log, which cron writes to for ever, becomes etl_cron_<yyyyMMdd>.txt, and goes like the others.
set -euo pipefail

# shellcheck source=env.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../env.sh"
through_the_door "$@"

patterns=('*_????????.txt' '*_????????.csv' '*_????????.html')
for pattern in "${patterns[@]}"; do
  bash "$ETL_PROJECT/jobscripts/delete_old_files.sh" "$@" "${ETL_LOGS_DIR:?}" "$pattern" 7
done

printed=$ETL_LOGS_DIR/etl_cron.log kept=$ETL_LOGS_DIR/etl_cron_$(date +%Y%m%d).txt
if [[ -s $printed && ! -L $printed && ! -e $kept ]]; then
  if [[ ${1:-} == --dry-run ]]; then
    printf 'would rename %s to %s\n' "$printed" "$kept"
  else
    mv -T -- "$printed" "$kept"
    printf 'renamed %s to %s\n' "$printed" "$kept"
  fi
fi
