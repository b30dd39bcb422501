# shellcheck shell=bash
# Paths and switches of this installation, sourced by the door and by the scripts in onboarding/sh.
# No secrets here: they come from the secrets file below, or from files named by NAME_FILE.
#
# Every setting has a default in systemscripts/settings.py; settings that exist already are not changed.

ETL_PROJECT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
export ETL_PROJECT

# At a terminal, defines the command etl; bash completes its verbs, names and options. The terminal gets no settings
# and no secrets, because every command reads them itself.
if [[ $- == *i* ]]; then
  [[ :$PATH: == *":$ETL_PROJECT/jobscripts:"* ]] || export PATH="$PATH:$ETL_PROJECT/jobscripts"
  complete -C "$ETL_PROJECT/jobscripts/etl" etl
  return 0
fi

# Two files hold variables such as SMTP_HOST, ETL_EMAIL_PASSWORD or PGHOST; Git tracks neither. One belongs to the user
# and has secrets; the other is for all users of this installation and has none. Each line is NAME=value; the value goes
# to the end of the line (one pair of quotes around it is removed). Nothing in them is run.
# If HOME is not set, `~` is found in the password database.
ETL_SECRETS_FILE="${ETL_SECRETS_FILE:-$(printf '%s' ~)/.config/client_etl_workflow/secrets.env}"
ETL_SITE_FILE="${ETL_SITE_FILE:-$ETL_PROJECT/site.env}"

# Prints what is wrong with a file whose mode has any of these bits, and how to correct it.
refuse_mode() {
  local file=$1 bits=$2 told=$3 cure=$4
  [[ $((8#$(stat -L -c %a -- "$file") & 8#$bits)) -eq 0 ]] || {
    printf "env.sh: %s can be %s by others; type: chmod %s '%s'\n" "$file" "$told" "$cure" "$file" >&2
    exit 1
  }
}

read_variables() {
  local file=$1 line name value
  [[ -r $file ]] || {
    printf "env.sh: %s cannot be read by %s; see whose it is, and its mode\n" "$file" "$(id -un)" >&2
    exit 1
  }
  while IFS= read -r line || [[ -n $line ]]; do
    [[ $line =~ ^[[:space:]]*(#|$) ]] && continue
    if [[ ! $line =~ ^(export[[:space:]]+)?([A-Z_][A-Z0-9_]*)=(.*)$ ]]; then
      printf 'env.sh: a line of %s is not of the form NAME=value (its text is not shown)\n' "$file" >&2
      exit 1
    fi
    name=${BASH_REMATCH[2]} value=${BASH_REMATCH[3]%$'\r'}
    [[ $value =~ ^\'(.*)\'$ || $value =~ ^\"(.*)\"$ ]] && value=${BASH_REMATCH[1]}
    [[ -v $name ]] || export "$name=$value"
  done <"$file"
}

if [[ -e $ETL_SECRETS_FILE ]]; then
  refuse_mode "$ETL_SECRETS_FILE" 077 read 600
  read_variables "$ETL_SECRETS_FILE"
fi
if [[ -e $ETL_SITE_FILE ]]; then
  refuse_mode "$ETL_SITE_FILE" 022 written 644
  read_variables "$ETL_SITE_FILE"
fi

export ETL_VENV="${ETL_VENV:-$ETL_PROJECT/venv}"
export ETL_HOME="${ETL_HOME:-$ETL_PROJECT}"
export ETL_LOGS_DIR="${ETL_LOGS_DIR:-$ETL_HOME/logs}"
export ETL_ARCHIVE_DIR="${ETL_ARCHIVE_DIR:-$ETL_HOME/archive}"
export ETL_FILE_WATCHER_DIR="${ETL_FILE_WATCHER_DIR:-$ETL_HOME/file_watcher}"
export ETL_BACKUP_DIR="${ETL_BACKUP_DIR:-$ETL_HOME/backups}"
# If the jobs have their own user, make_venv.sh compiles for all users: files compiled by one could not be read by others.
[[ -O $ETL_PROJECT && (-O $ETL_LOGS_DIR || ! -e $ETL_LOGS_DIR) ]] || export PYTHONDONTWRITEBYTECODE=1

# Prints the head of the running script, which is its help, and ends the script.
usage() {
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
  exit "$1"
}

# Prints a line. A character that could begin another line, control a terminal or turn the writing becomes a ?:
# controls (C0, DEL, C1), Unicode's line ends, and its direction marks and overrides. In the locale C bytes are compared.
say() {
  local LC_ALL=C text=$*
  text=${text//[$'\x01'-$'\x1f\x7f']/?}
  text=${text//$'\xc2'[$'\x80'-$'\x9f']/?}
  text=${text//$'\xe2\x80'[$'\x8e\x8f\xa8'-$'\xae']/?}
  text=${text//$'\xe2\x81'[$'\xa6'-$'\xa9']/?}
  printf '%s\n' "${text//$'\xd8\x9c'/?}"
}

# Ends the script with one sentence, and with the given status (default 1).
fail() {
  say "${0##*/}: $1" >&2
  exit "${2:-1}"
}

# A shell job calls this first, so that it also goes through the door when it is started by hand.
through_the_door() {
  [[ -n ${ETL_RUN_UUID:-} ]] || exec bash "$ETL_PROJECT/jobscripts/run_python_etl_script.sh" "$0" "$@"
}

# A chain runs each of its jobs with this function, as a separate run, and exits with $worst: a failure counts more than 75.
worst=0
step() {
  local status=0
  bash "$ETL_PROJECT/jobscripts/run_python_etl_script.sh" "$@" || status=$?
  if [[ $worst == 0 || ($worst == 75 && $status != 0) ]]; then
    worst=$status
  fi
}
