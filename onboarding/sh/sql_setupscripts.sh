#!/usr/bin/env bash
# Usage: sql_setupscripts.sh [--dry-run]
#
# Sets up the database, or upgrades the database of an older installation in place. It runs the files of
# onboarding/sql in the order of ORDER.txt, all in one transaction. It may be run again at any time.
# Each line with "-" is something that it has changed. If a row breaks a rule, or something of your own is in
# the way, nothing is changed, and all of it is listed with what to type. With --dry-run it does all of it and
# takes it back at the end, so that the lists are complete; the tables are locked meanwhile. It waits up to ten
# minutes for jobs that use the tables, and for another set-up on the server, and says so.
#
# Exits with 0 when all is done, 65 when a person must decide first (see the list), 75 when somebody held a lock
# for too long (try again), 64 when it was called wrongly, and 1 after any other error. Only with 0 anything is changed.
#
# On a server of your own, run it as a superuser of that server, for example
#   sudo -u postgres PGHOST=/var/run/postgresql PGDATABASE=feeds bash onboarding/sh/sql_setupscripts.sh
# and let the jobs log in as etl_user (by peer, or with a password in PGPASSFILE).
set -euo pipefail

psql_as_superuser() {
  "$ETL_VENV/bin/python" -P -m systemscripts.db_config run --as postgres psql -X -v ON_ERROR_STOP=1 --quiet "$@"
}

# Whether there is no server yet that a dry run could ask: the embedded one would be made for it.
is_without_server() {
  [[ -z ${PGHOST:-}${PGHOSTADDR:-}${PGPORT:-}${PGSERVICE:-}${PGDATABASE:-}${PGUSER:-} && ! -d $ETL_HOME/pgdata ]]
}

# Ends a dry run that has no database to try the files on.
list_files() {
  say "$1 does not exist; would make it and run, in one transaction:"
  printf '  %s\n' "${files[@]}"
  exit 0
}

# Makes the database if it does not exist; this cannot be part of the transaction.
ensure_database() {
  local name=${PGDATABASE:-feeds} found
  found=$(psql_as_superuser -d postgres -At -v name="$name" <<<"SELECT count(*) FROM pg_database WHERE datname = :'name'") ||
    fail 'the database server refuses your login as postgres (see above); check that it runs, and type: sudo bash onboarding/sh/sql_setupscripts.sh'
  if [[ $found == 0 ]]; then
    [[ $dry_run == no ]] || list_files "database $name"
    psql_as_superuser -d postgres -v name="$name" <<<"CREATE DATABASE :\"name\" TEMPLATE template0 ENCODING 'UTF8'"
    say "database $name: made"
  else
    say "database $name: was there already"
  fi
}

# Makes of what psql tells: a line with a dash for each change, plain words for each wait, and two blanks before the
# further lines of a message, so that no text in a message looks like a message.
as_lines() {
  without_controls | sed -u -E 's/^psql:.*\.sql:[0-9]+: NOTICE:  /- /; t; s/^psql:.*\.sql:[0-9]+: INFO:  //; t
    s/^psql:(.*\/)?([a-z_]+\.sql:[0-9]+): ([A-Z]+):  /\3: \2: /; t; s/^psql: //; t; s/^/  /'
}

# Runs the files in one transaction, which the first argument ends. If they fail, the last line says how, and so does the status.
run_files() {
  local ending=$1 line="" reason=""
  shift
  while IFS= read -r line; do
    printf '%s\n' "$line" >&2
    case $line in
    'ERROR: '*': Nothing was changed. A person must decide first:') reason=undecided ;;
    'ERROR: '*': The set-up has waited ten minutes '* | 'ERROR: '*': canceling statement due to lock timeout') reason=locked ;;
    esac
  done < <(psql_as_superuser -v etl_home="$ETL_HOME" -v SHOW_CONTEXT=never -c BEGIN "$@" -c "$ending" 2>&1 | as_lines)
  wait $! && return
  case $reason in
  undecided) fail 'nothing was changed, because a person must decide first; do what the list above says, then run this again' 65 ;;
  locked) fail 'nothing was changed, because somebody else used what the set-up has to change; run this again when that has ended' 75 ;;
  *) fail 'nothing was changed, because of the error above' ;;
  esac
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

# The directory of an older installation whose file_watcher/ the imports read, if it is not the one of this checkout.
older_home() {
  psql_as_superuser -At -v etl_home="$ETL_HOME" <<'SQL'
    SELECT regexp_replace(source_directory, '/file_watcher(/.*)?$', '') FROM dba.timportconfig
    WHERE is_active = B'1' AND source_directory ~ '/file_watcher(/|$)' AND source_directory !~ '[[:cntrl:]]'
      AND NOT starts_with(source_directory, rtrim(:'etl_home', '/') || '/')
    GROUP BY 1 ORDER BY count(*) DESC LIMIT 1
SQL
}

# The jobs put their files below ETL_HOME, and the imports of an older installation look below its own directory.
tell_of_older_home() {
  local home answer=
  local -a lines
  home=$(older_home)
  [[ -n $home ]] || return 0
  lines=("ETL_HOME=$home")
  # The embedded server is below ETL_HOME, and stays where it is.
  [[ ! -d $ETL_HOME/pgdata ]] || lines=("ETL_FILE_WATCHER_DIR=$home/file_watcher" "ETL_ARCHIVE_DIR=$home/archive")
  say "The imports read $home/file_watcher, and the jobs of this checkout write below $ETL_HOME."
  if [[ -t 0 && -t 2 ]] && ! grep -Eqs '^ETL_(HOME|FILE_WATCHER_DIR|ARCHIVE_DIR)=' "$ETL_SITE_FILE"; then
    read -r -p "Shall the jobs work in $home too (${lines[*]} in $ETL_SITE_FILE)? [y/N] " answer
  fi
  if [[ $answer == [yY]* ]]; then
    printf '%s\n' "${lines[@]}" >>"$ETL_SITE_FILE"
    say 'written; etl doctor checks whether the jobs may write there'
    [[ $EUID -ne 0 ]] || say 'To give these directories to the jobs, type: sudo bash onboarding/sh/configure_etl_user.sh (in a script, which nobody can ask, with --give-directories)'
  else
    say "To let them work there, put into $ETL_SITE_FILE: ${lines[*]}; one setting a line. Else change source_directory and archive_directory of these imports."
  fi
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

  local dry_run=no was_older
  case "$*" in
  '') ;;
  --dry-run) dry_run=yes ;;
  -h | --help) usage 0 ;;
  *) not_understood "$*" ;;
  esac

  [[ $dry_run == no ]] || ! is_without_server || list_files "the embedded server"
  ensure_database
  was_older=$(psql_as_superuser -At -c "SELECT to_regclass('dba.timportconfig') IS NOT NULL AND to_regclass('dba.tjobrun') IS NULL") ||
    fail 'your login may not look at the database (see above); run the set-up as a superuser of the server'
  if [[ $dry_run == yes ]]; then
    run_files ROLLBACK "${options[@]}"
    say "dry run: the ${#files[@]} files of onboarding/sql were run, and all of it was taken back"
    return
  fi
  run_files COMMIT "${options[@]}"
  printf 'schema dba: %s files applied; now %s\n' "${#files[@]}" "$(count_rows)"
  [[ $was_older != t ]] || tell_of_older_home
}

main "$@"
