#!/usr/bin/env bash
# Usage: psql.sh [--as ROLE] [psql arguments]
#
# Opens psql on the database this installation uses, the embedded one too (it is started if need be).
# Without ROLE it is for looking at data: it sees all that the jobs see, and changes nothing.
# ROLE is etl_owner to change the configuration, etl_user to change what jobs have made, etl_report what report queries
# are. Look at tables and views that jobs have made without etl_owner: what is planted in them would run with its rights.
#
# Examples:
#   bash onboarding/sh/psql.sh
#   bash onboarding/sh/psql.sh -c 'SELECT * FROM dba.tscheduler'
#   bash onboarding/sh/psql.sh --as etl_owner -f my_copy_of_add_job.sql
set -euo pipefail

readonly ADVICE='psql.sh: this is for looking only; to change the configuration type: bash onboarding/sh/psql.sh --as etl_owner …'

run() { "$ETL_VENV/bin/python" -P -m systemscripts.db_config run "$@"; }

main() {
  # shellcheck source=env.sh
  source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../../env.sh"
  if [[ ${1:-} == --as && $# -gt 1 ]]; then
    run --as "$2" psql "${@:3}"
    return
  fi
  # Nothing a job has planted can do more here than the job itself; read-only, a slip of the hand does nothing either.
  export PGOPTIONS="${PGOPTIONS:-} -c default_transaction_read_only=on"
  if [[ $# == 0 && -t 0 ]]; then
    printf '%s\n' "$ADVICE" >&2
    run --as etl_user psql
  else
    { run --as etl_user psql "$@" 2>&1 >&3 | sed "0,/read-only transaction\|permission denied for/{//a\\$ADVICE
}" >&2; } 3>&1
  fi
}

main "$@"
