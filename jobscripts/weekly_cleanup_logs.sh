#!/usr/bin/env bash
# Delete log files (<job>_<yyyyMMdd>.txt, .csv, .html) older than 7 days, and begin a new file for the output of cron's jobs.
# The logs of an older installation go too: <job>_<yyyyMMddTHHmmss>.txt, .csv, .log and send_reports.log_….
#
# Usage: weekly_cleanup_logs.sh [--dry-run]
#
# cron always writes to etl_cron.log. That file is renamed to etl_cron_<yyyyMMdd>.txt, and later deleted like the others.
set -euo pipefail

# shellcheck source=env.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../env.sh"
through_the_door "$@"

day='20[0-9][0-9][01][0-9][0-3][0-9]'
# With the time: the names of an older installation.
time='T[0-2][0-9][0-5][0-9][0-5][0-9]'
for pattern in "*_$day".{txt,csv,html} "*_$day$time".{txt,csv,log} 'send_reports.log_*'; do
  bash "$ETL_PROJECT/jobscripts/delete_old_files.sh" "$@" "${ETL_LOGS_DIR:?}" "$pattern" 7
done

printed=$ETL_LOGS_DIR/etl_cron.log kept=$ETL_LOGS_DIR/etl_cron_$(date +%Y%m%d).txt
if [[ -s $printed && ! -L $printed && ! -e $kept ]]; then
  if [[ ${1:-} == --dry-run ]]; then
    say "would rename $printed to $kept"
  else
    mv -T -- "$printed" "$kept"
    say "renamed $printed to $kept"
  fi
fi
