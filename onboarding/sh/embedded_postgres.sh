#!/usr/bin/env bash
# Usage: embedded_postgres.sh start|stop|status
#
# Starts or stops the private PostgreSQL, which is used if no server is named. Jobs start it automatically.
# Stop it before you move or copy the directory pgdata.
set -euo pipefail

main() {
  # shellcheck source=env.sh
  source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../../env.sh"
  case "$*" in
  start | stop | status) ;;
  -h | --help) usage 0 ;;
  '') usage 64 >&2 ;;
  *) not_understood "$*" ;;
  esac
  exec "$ETL_VENV/bin/python" -P -m systemscripts.db_config "$@"
}

main "$@"
