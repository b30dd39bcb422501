#!/usr/bin/env bash
# Usage: sql_setupscripts.sh [--dry-run]
#
# Sets up the database, or upgrades the database of an older installation in place. It runs the files of
# onboarding/sql in the order of ORDER.txt, all in one transaction. It may be run again at any time.
#
# On a server of your own, run it as a superuser of that server, for example
#   sudo -u postgres PGHOST=/var/run/postgresql PGDATABASE=feeds bash onboarding/sh/sql_setupscripts.sh
# and let the jobs log in as etl_user (by peer, or with a password in PGPASSFILE).
set -euo pipefail

psql_as_superuser() {
  "$ETL_VENV/bin/python" -P -m systemscripts.db_config run --as postgres psql -X -v ON_ERROR_STOP=1 --quiet "$@"
}

# Makes the database if it does not exist; this cannot be part of the transaction.
ensure_database() {
  local name=${PGDATABASE:-feeds} found
  found=$(psql_as_superuser -d postgres -At -v name="$name" <<<"SELECT count(*) FROM pg_database WHERE datname = :'name'") ||
    fail 'the database server refuses your login as postgres (see above); check that it runs, and type: sudo bash onboarding/sh/sql_setupscripts.sh'
  if [[ $found == 0 ]]; then
    psql_as_superuser -d postgres -v name="$name" <<<"CREATE DATABASE :\"name\" TEMPLATE template0 ENCODING 'UTF8'"
    say "database $name: made"
  else
    say "database $name: was there already"
  fi
}

count_rows() {
  psql_as_superuser -At -c "
    SELECT format('%s tables, %s functions and procedures, %s import configurations, %s scheduled jobs, %s reports',
      (SELECT count(*) FROM pg_tables WHERE schemaname = 'dba'),
      (SELECT count(*) FROM pg_proc WHERE pronamespace = 'dba'::regnamespace),
      (SELECT count(*) FROM dba.timportconfig),
      (SELECT count(*) FROM dba.tscheduler),
      (SELECT count(*) FROM dba.treportmanager))"
}

main() {
  # shellcheck source=env.sh
  source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../../env.sh"
  local sql_dir="$ETL_PROJECT/onboarding/sql" file
  local -a files=() options=()
  while read -r file; do
    [[ -z $file || $file == \#* ]] && continue
    [[ -f $sql_dir/$file ]] || fail "ORDER.txt names $file, which is not in $sql_dir"
    files+=("$file")
    options+=(-f "$sql_dir/$file")
  done <"$sql_dir/ORDER.txt"

  case "$*" in
  '') ;;
  --dry-run)
    printf 'would run, in one transaction:\n'
    printf '  %s\n' "${files[@]}"
    exit 0
    ;;
  -h | --help) usage 0 ;;
  *) usage 64 >&2 ;;
  esac

  ensure_database
  psql_as_superuser --single-transaction -v etl_home="$ETL_HOME" "${options[@]}"
  printf 'schema dba: %s files applied; now %s\n' "${#files[@]}" "$(count_rows)"
}

main "$@"
