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
export ETL_ARCHIVE_DIR="${ETL_ARCHIVE_DIR:-$ETL_HOME/archive}"
export ETL_FILE_WATCHER_DIR="${ETL_FILE_WATCHER_DIR:-$ETL_HOME/file_watcher}"
export ETL_BACKUP_DIR="${ETL_BACKUP_DIR:-$ETL_HOME/backups}"

# Variables such as SMTP_HOST, ETL_EMAIL, ETL_EMAIL_PASSWORD or PGHOST, one NAME=value a line.
# `~` is found in the password database where HOME is not set.
ETL_SECRETS_FILE="${ETL_SECRETS_FILE:-$(cd ~ 2>/dev/null && pwd)/.config/client_etl_workflow/secrets.env}"

if [[ -e $ETL_SECRETS_FILE ]]; then
  if [[ $(stat -L -c %a -- "$ETL_SECRETS_FILE") != [46]00 ]]; then
    printf "env.sh: %s can be read by others; type: chmod 600 '%s'\n" "$ETL_SECRETS_FILE" "$ETL_SECRETS_FILE" >&2
    exit 1
  fi
  set -a
  # shellcheck source=/dev/null
  source "$ETL_SECRETS_FILE"
  set +a
fi

# A shell job calls this first: started by hand it goes through the one door all the same.
through_the_door() {
  [[ -n ${ETL_RUN_UUID:-} ]] || exec bash "$ETL_PROJECT/jobscripts/run_python_etl_script.sh" "$0" "$@"
}
