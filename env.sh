# shellcheck shell=bash
# Paths and switches of this installation, sourced by the door and by the scripts in onboarding/sh.
# No secrets here: they come from the secrets file below, or from files named by NAME_FILE.
#
# Everything has a default in systemscripts/settings.py; what is set already stays as it is.

ETL_PROJECT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
export ETL_PROJECT
export ETL_VENV="${ETL_VENV:-$ETL_PROJECT/venv}"
export ETL_HOME="${ETL_HOME:-$ETL_PROJECT}"
export ETL_LOGS_DIR="${ETL_LOGS_DIR:-$ETL_HOME/logs}"
# Where matplotlib keeps its list of fonts: cron's user may have no home that can be written.
export MPLCONFIGDIR="${MPLCONFIGDIR:-$ETL_LOGS_DIR/.matplotlib}"
export ETL_ARCHIVE_DIR="${ETL_ARCHIVE_DIR:-$ETL_HOME/archive}"
export ETL_FILE_WATCHER_DIR="${ETL_FILE_WATCHER_DIR:-$ETL_HOME/file_watcher}"
export ETL_BACKUP_DIR="${ETL_BACKUP_DIR:-$ETL_HOME/backups}"

# Variables such as SMTP_HOST, ETL_EMAIL, ETL_EMAIL_PASSWORD or PGHOST, one NAME=value a line, each value
# taken as it stands up to the end of its line (one pair of quotes around it is taken off). Nothing in the
# file is run.
# `~` is found in the password database where HOME is not set.
ETL_SECRETS_FILE="${ETL_SECRETS_FILE:-$(cd ~ 2>/dev/null && pwd)/.config/client_etl_workflow/secrets.env}"

if [[ -e $ETL_SECRETS_FILE ]]; then
  if [[ $(stat -L -c %a -- "$ETL_SECRETS_FILE") != [46]00 ]]; then
    printf "env.sh: %s can be read by others; type: chmod 600 '%s'\n" "$ETL_SECRETS_FILE" "$ETL_SECRETS_FILE" >&2
    exit 1
  fi
  while IFS= read -r etl_line || [[ -n $etl_line ]]; do
    [[ $etl_line =~ ^[[:space:]]*(#|$) ]] && continue
    if [[ ! $etl_line =~ ^(export[[:space:]]+)?([A-Z_][A-Z0-9_]*)=(.*)$ ]]; then
      printf 'env.sh: a line of %s is not of the form NAME=value (its text is not shown)\n' "$ETL_SECRETS_FILE" >&2
      exit 1
    fi
    etl_name=${BASH_REMATCH[2]} etl_value=${BASH_REMATCH[3]%$'\r'}
    [[ $etl_value =~ ^\'(.*)\'$ || $etl_value =~ ^\"(.*)\"$ ]] && etl_value=${BASH_REMATCH[1]}
    [[ -v $etl_name ]] || export "$etl_name=$etl_value"
  done <"$ETL_SECRETS_FILE"
  unset etl_line etl_name etl_value
fi

# A shell job calls this first: started by hand it goes through the one door all the same.
through_the_door() {
  [[ -n ${ETL_RUN_UUID:-} ]] || exec bash "$ETL_PROJECT/jobscripts/run_python_etl_script.sh" "$0" "$@"
}

# A chain runs each of its jobs by this, as a run of its own, and exits with $worst: a failure outranks a skip (75).
worst=0
step() {
  local status=0
  bash "$ETL_PROJECT/jobscripts/run_python_etl_script.sh" "$@" || status=$?
  if [[ $worst == 0 || ($worst == 75 && $status != 0) ]]; then
    worst=$status
  fi
}
