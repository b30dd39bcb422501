#!/usr/bin/env bash
# Usage: psql.sh [--as ROLE] [psql arguments]
#
# Opens psql on the database this installation uses, the embedded one too (it is started if need be).
# ROLE is etl_owner unless given: etl_user is what jobs are, etl_report what report queries are.
#
# Examples:
#   bash onboarding/sh/psql.sh
#   bash onboarding/sh/psql.sh -c 'SELECT * FROM dba.tscheduler'
set -euo pipefail

main() {
  # shellcheck source=env.sh
  source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../../env.sh"
  local -a role=()
  if [[ ${1:-} == --as && $# -gt 1 ]]; then
    role=(--as "$2")
    shift 2
  fi
  exec "$ETL_VENV/bin/python" -P -m systemscripts.db_config run "${role[@]}" psql "$@"
}

main "$@"
