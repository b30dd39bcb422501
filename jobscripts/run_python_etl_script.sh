#!/usr/bin/env bash
# Usage: run_python_etl_script.sh [--due | --scheduled-at TIME] [--task ID | --report ID] <script> [arguments for the script]
#
# Runs one job. All jobs are started through this script (the door), by cron and by hand. Without arguments
# it lists the jobs. A schedule says with --due that the job is due this minute, and with --task or --report
# for which row.
# Exits with the job's own status: 0 done, 1 failed, 64 called wrongly, 75 skipped or temporary.
set -euo pipefail

# In a directory that another user could fill with links, root runs the job as that user.
hand_over() {
  local owner
  owner=$(stat -c %U -- "$ETL_LOGS_DIR" 2>/dev/null) || return 0
  [[ $owner != root && $owner != "$(stat -c %U -- "$ETL_PROJECT")" ]] || return 0
  exec setpriv --reuid="$owner" --regid="$(id -g -- "$owner")" --init-groups \
    env HOME="$(getent passwd "$owner" | cut -d: -f6)" bash "$ETL_PROJECT/jobscripts/run_python_etl_script.sh" "$@"
}

main() {
  # Without a program such as dirname, because each costs a start of this script a tenth of its time.
  local here=${BASH_SOURCE[0]}
  [[ ! -L $here ]] || here=$(readlink -f -- "$here")
  [[ $here == */* ]] || here=./$here
  # shellcheck source=env.sh
  source "${here%/*}/../env.sh"
  if [[ ! -x $ETL_VENV/bin/python ]]; then
    fail "there is no Python in $ETL_VENV; type: bash $ETL_PROJECT/onboarding/sh/quickstart.sh" 64
  fi
  [[ $EUID -ne 0 ]] || hand_over "$@"
  # Where matplotlib and fontconfig keep their lists of fonts: cron's user may have no home that can be written.
  export MPLCONFIGDIR="${MPLCONFIGDIR:-$ETL_LOGS_DIR/.matplotlib}" XDG_CACHE_HOME="${XDG_CACHE_HOME:-$ETL_LOGS_DIR/.cache}"
  exec "$ETL_VENV/bin/python" -P -m systemscripts.runs.door "$@"
}

main "$@"
