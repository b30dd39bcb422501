# shellcheck shell=bash
# Paths and switches of this installation, sourced by the door and by the scripts in onboarding/sh.
# No secrets here: they come from the secrets file below, or from files named by NAME_FILE.
#
# Everything has a default in systemscripts/settings.py; what is set already stays as it is.

ETL_PROJECT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
export ETL_PROJECT

# A terminal gets the command etl, which bash completes with the verbs, names and options that there are. It gets no
# settings and no secrets: every command reads them itself.
if [[ $- == *i* ]]; then
  [[ :$PATH: == *":$ETL_PROJECT/jobscripts:"* ]] || export PATH="$PATH:$ETL_PROJECT/jobscripts"
  complete -C "$ETL_PROJECT/jobscripts/etl" etl
  return 0
fi

# Two files of variables such as SMTP_HOST, ETL_EMAIL_PASSWORD or PGHOST, neither of them tracked: one of the user's
# own, with secrets, and one for all users of this installation, without. One NAME=value a line, each value taken as it
# stands up to the end of its line (one pair of quotes around it is taken off). Nothing in them is run.
# `~` is found in the password database where HOME is not set.
ETL_SECRETS_FILE="${ETL_SECRETS_FILE:-$(printf '%s' ~)/.config/client_etl_workflow/secrets.env}"
ETL_SITE_FILE="${ETL_SITE_FILE:-$ETL_PROJECT/site.env}"

# Says in one sentence what is wrong with a file whose mode has any of these bits, and how that is set right.
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
# Where the jobs have a user of their own make_venv.sh compiles for all: what one user left, others could not read.
[[ -O $ETL_PROJECT && (-O $ETL_LOGS_DIR || ! -e $ETL_LOGS_DIR) ]] || export PYTHONDONTWRITEBYTECODE=1

# Prints the head of the script that runs, which says how it is called, and ends it.
usage() {
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
  exit "$1"
}

# Prints a line. What could begin another one, steer a terminal or turn the writing (of a file's name) is a ? in it:
# controls (C0, DEL, C1), Unicode's ends of lines, and its marks and overrides of direction. In C bytes are compared.
say() {
  local LC_ALL=C text=$*
  text=${text//[$'\x01'-$'\x1f\x7f']/?}
  text=${text//$'\xc2'[$'\x80'-$'\x9f']/?}
  text=${text//$'\xe2\x80'[$'\x8e\x8f\xa8'-$'\xae']/?}
  text=${text//$'\xe2\x81'[$'\xa6'-$'\xa9']/?}
  printf '%s\n' "${text//$'\xd8\x9c'/?}"
}

# Ends the script with one sentence, and status 1 or the one that is given.
fail() {
  say "${0##*/}: $1" >&2
  exit "${2:-1}"
}

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
