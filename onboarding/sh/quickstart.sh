#!/usr/bin/env bash
# Usage: quickstart.sh
#
# From a fresh clone to a working pipeline in two minutes: makes the virtual environment, starts a
# private PostgreSQL, sets the database up, and runs two demonstration days through the real jobs
# against a stand-in for the MeetMax site. Needs bash, Python 3.11 to 3.13 with venv, and the
# Python package index; do not run it as root. It may be run again, and then says what existed already.
set -euo pipefail

FIRST_EVENT=119230
LAST_EVENT=119275

heading() { printf '\n== %s\n' "$*"; }

door() { bash "$ETL_PROJECT/jobscripts/run_python_etl_script.sh" "$@"; }
sql() { bash "$ETL_PROJECT/onboarding/sh/psql.sh" -X --quiet "$@"; }

refuse_root() {
  [[ $(id -u) -ne 0 ]] ||
    fail "run it as an ordinary user: PostgreSQL refuses to run as root. To make one: useradd --create-home etl && su - etl" 64
  [[ -O $ETL_HOME && -w $ETL_HOME ]] ||
    fail "$ETL_HOME does not belong to you ($(id -un)); clone it as yourself" 64
}

# The rows of a demonstration must not go into a database that is in use.
refuse_server() {
  local name
  for name in PGHOST PGHOSTADDR PGPORT PGSERVICE PGDATABASE PGUSER; do
    [[ -z ${!name:-} ]] ||
      fail "$name is set, so this installation uses its own server, but the demonstration needs another one; run it in a separate clone" 64
  done
}

# Prints the latest business day up to today and the one before it, on one line.
demo_days() {
  sql -At -F ' ' -c "
    SELECT previous_business_date, fulldate FROM dba.tcalendardays
    WHERE isbusday AND fulldate <= current_date ORDER BY fulldate DESC LIMIT 1"
}

already_loaded() {
  [[ $(sql -At -v day="$1" <<<"
    SELECT count(*) > 0 FROM dba.tdataset JOIN dba.tdatasettype USING (datasettypeid)
    WHERE typename = 'MeetMaxEvents' AND isactive AND datasetdate = :'day'") == t ]]
}

# Starts the stand-in site for a demo day and leaves its address in site_url and its process in site_pid.
start_site() {
  local port_file=$demo_dir/site.port
  rm -f -- "$port_file"
  "$ETL_VENV/bin/python" "$ETL_PROJECT/onboarding/demo/meetmax_site.py" --day "$1" --port-file "$port_file" &
  site_pid=$!
  local waited=0
  until [[ -s $port_file ]]; do
    if ! kill -0 "$site_pid" 2>/dev/null || ((waited++ > 300)); then
      fail 'the stand-in site did not start'
    fi
    sleep 0.1
  done
  site_url=http://127.0.0.1:$(<"$port_file")
}

stop_site() {
  [[ -n ${site_pid:-} ]] || return 0
  kill "$site_pid" 2>/dev/null || true
  wait "$site_pid" 2>/dev/null || true
  site_pid=
}

# Runs one day as cron would: the scan of Friday evening, then download and import.
run_demo_day() {
  local number=$1 day=$2
  heading "Demonstration day $number: $day"
  if already_loaded "$day"; then
    say "was loaded already; nothing to do"
    return
  fi
  start_site "$number"
  (
    export MEETMAX_BASE_URL=$site_url ETL_CLOCK="${day}T05:00:00" ETL_REQUEST_INTERVAL=0
    export ETL_SETTLE_SECONDS=0 # nobody else writes the demonstration's files
    door meetmax_url_check.py --first "$FIRST_EVENT" --last "$LAST_EVENT"
    door run_download_and_import.sh
  )
  stop_site
}

preview() {
  heading 'Report and schedule'
  ETL_CLOCK="$1T11:20:00" door send_reports.py 1 --preview "$demo_dir/report_1.html"
  ETL_CRON_USER=$(id -un) door update_cron_jobs.py --dry-run >"$demo_dir/etl_jobs.cron"
  say "the cron file as it would be written: $demo_dir/etl_jobs.cron"
}

summary() {
  local day=$1
  heading 'What is in the database now'
  sql -P pager=off -c "
    SELECT 'public.tmeetmaxurlcheck' AS table, count(*) AS rows FROM public.tmeetmaxurlcheck
    UNION ALL SELECT 'public.tmeetmaxevent', count(*) FROM public.tmeetmaxevent
    UNION ALL SELECT 'dba.tdataset', count(*) FROM dba.tdataset
    UNION ALL SELECT 'dba.timportfile', count(*) FROM dba.timportfile
    UNION ALL SELECT 'dba.tdownload', count(*) FROM dba.tdownload
    UNION ALL SELECT 'dba.tjobrun', count(*) FROM dba.tjobrun
    UNION ALL SELECT 'dba.tlogentry', count(*) FROM dba.tlogentry"
  heading "Companies that came and went on $day, by event"
  sql -P pager=off -v day="$day" <<<"
    SELECT eventid, count(*) FILTER (WHERE scenario = 'added') AS added,
           count(*) FILTER (WHERE scenario = 'removed') AS removed
    FROM dba.f_get_event_changes(:'day') GROUP BY eventid ORDER BY eventid"
  heading 'Where to look'
  cat <<END
the report as a client would see it  $demo_dir/report_1.html
the cron file that would be written  $demo_dir/etl_jobs.cron
logs of every run                    $ETL_LOGS_DIR
the files that were imported         $ETL_ARCHIVE_DIR

What to type next
  . env.sh                                          (once in a terminal: gives it the command etl)
  etl                                               (the state, and what else etl can do)
  etl imports                                       (what came of the last files)
  etl sql -c "SELECT * FROM dba.f_get_event_changes('$day')"
  bash onboarding/sh/run_tests.sh                   (runs the tests)
  bash onboarding/sh/embedded_postgres.sh stop      (stops the database)

To get rid of the demonstration before real work: stop the database, then delete pgdata/, demo/, logs/* and archive/*
in $ETL_HOME, and run bash onboarding/sh/sql_setupscripts.sh.
END
}

main() {
  # shellcheck source=env.sh
  source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../../env.sh"
  case "$*" in
  '') ;;
  -h | --help) usage 0 ;;
  *) not_understood "$*" ;;
  esac
  refuse_root
  refuse_server
  demo_dir=$ETL_HOME/demo
  mkdir -p -- "$demo_dir"
  trap stop_site EXIT

  heading 'Python environment'
  bash "$ETL_PROJECT/onboarding/sh/make_venv.sh"
  say "ready: $ETL_VENV"
  heading 'Database'
  bash "$ETL_PROJECT/onboarding/sh/sql_setupscripts.sh"

  say "the stand-in site refuses the first request for two of its events on purpose: they are retried"
  local first_day second_day
  read -r first_day second_day < <(demo_days)
  run_demo_day 1 "$first_day"
  run_demo_day 2 "$second_day"
  preview "$second_day"
  summary "$second_day"
}

main "$@"
