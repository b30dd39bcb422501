#!/usr/bin/env bash
# Usage: psql.sh [--as ROLE] [psql arguments]
#
# Opens psql on the database of this installation; the embedded one is started if needed. Without ROLE it is for
# looking at data: it sees everything that the jobs see, and changes nothing. ROLE is etl_owner to change the
# configuration, etl_user to change tables of the jobs, etl_report to try a report's query, or postgres for what only a
# superuser may (with sudo on a machine with the system's PostgreSQL). Do not look at tables and views of the jobs as
# etl_owner or postgres: code hidden in them would run with its rights.
#
# Examples:
#   bash onboarding/sh/psql.sh
#   bash onboarding/sh/psql.sh -c 'SELECT * FROM dba.tscheduler'
#   bash onboarding/sh/psql.sh --as etl_owner -f my_copy_of_add_job.sql
# The short command is etl sql, with the same arguments.
set -euo pipefail

readonly ADVICE='psql.sh: this is for looking only; type the same with --as etl_owner to change the configuration, with --as etl_user to change rows of import tables'

run() { "$ETL_VENV/bin/python" -P -m systemscripts.db_config run "$@"; }

# Output to a file or a program is passed on unchanged, byte for byte.
to_whoever_reads() { if [[ -t 1 ]]; then without_controls; else cat; fi; }

# Runs psql with arguments when it is not interactive.
look() { { { run "$@" 3>&- | to_whoever_reads >&3; } 2>&1 | without_controls | advise >&2; } 3>&1; }

advise() {
  sed -u "0,/read-only transaction\|permission denied for/{//a\\$ADVICE
}"
}

main() {
  # shellcheck source=env.sh
  source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../../env.sh"
  local role=etl_user
  if [[ ${1:-} == --as ]]; then
    [[ ${2:-} =~ ^[a-z_]+$ ]] || fail '--as takes a role: etl_owner to change the configuration, etl_user or etl_report' 64
    role=$2
    shift 2
  else
    # Code hidden by a job has only the job's rights here. Read-only also protects against typing mistakes.
    export PGOPTIONS="${PGOPTIONS:-} -c default_transaction_read_only=on"
  fi
  # A file of statements ends at the first that fails.
  local -a stop=()
  [[ ! " $*" =~ \ (-[A-Za-z]*f|--file) ]] || stop=(-v ON_ERROR_STOP=1)
  # At a terminal a row that is too wide is shown as one line per column.
  local -a shown=()
  [[ ! -t 1 ]] || shown=(-P expanded=auto -P "columns=$(tput cols 2>/dev/null || echo 80)")
  local status=0
  if [[ $# == 0 && -t 0 ]]; then
    [[ -z ${PGOPTIONS:-} ]] || printf '%s\n' "$ADVICE" >&2
    run --as "$role" psql "${shown[@]}" || status=$?
  elif [[ -t 0 && -t 1 && ! " $*" =~ \ -[A-Za-z]*[cfl]|\ --(command|file|list) ]]; then # as in psql.sh -d other
    run --as "$role" psql "${shown[@]}" "${stop[@]}" "$@" || status=$?
  else
    look --as "$role" psql "${shown[@]}" "${stop[@]}" "$@" || status=$?
  fi
  # Psql's 2 says that it was not let in.
  if [[ $status == 2 && $role == postgres && $EUID -ne 0 ]]; then
    say "psql.sh: on a machine with the system's PostgreSQL only root may be postgres; type the same with sudo: sudo etl sql --as postgres …" >&2
  fi
  exit "$status"
}

main "$@"
