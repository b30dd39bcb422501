# shellcheck shell=bash
# Paths and switches of this installation, sourced by the door and by the scripts in onboarding/sh.
# No secrets here: they come from the secrets file below, or from files named by NAME_FILE.
#
# Every setting has a default in systemscripts/settings.py; settings that exist already are not changed.
# Up to the functions for scripts it is written for every POSIX shell: cron's /bin/sh, which may be dash, sources it too.

# Sets ETL_PROJECT to the directory of this file. Bash says which file it reads. Other shells do not, but keep it open
# meanwhile: /proc/self/stat begins with the number of the process that opened it, which is this shell.
find_project() {
  local process="" file="" _=""
  if [ -n "${BASH_VERSION:-}" ]; then
    # shellcheck disable=SC2128 # the first one is meant, and other shells have no arrays
    file=$BASH_SOURCE
    case $file in */*) ;; *) file=./$file ;; esac
    ETL_PROJECT=$(cd -- "${file%/*}" && pwd -P)
    return
  fi
  ETL_PROJECT=$(pwd -P)
  read -r process _ </proc/self/stat
  for file in "/proc/$process/fd/"*; do
    file=$(readlink -- "$file") || continue
    [ "${file##*/}" != env.sh ] || [ ! -e "${file%/*}/jobscripts/run_python_etl_script.sh" ] || ETL_PROJECT=${file%/*}
  done
  [ -e "$ETL_PROJECT/jobscripts/run_python_etl_script.sh" ] || {
    echo "env.sh: this shell does not say where env.sh lies, and it is not in $PWD; type: cd to its directory, then . ./env.sh" >&2
    return 1
  }
}

find_project || return 1
unset -f find_project
export ETL_PROJECT

# At a terminal, defines the command etl; bash completes its verbs, names and options. The terminal gets no settings
# and no secrets, because every command reads them itself.
case $- in *i*)
  case ":$PATH:" in
  *":$ETL_PROJECT/jobscripts:"*) ;;
  *) export PATH="$PATH:$ETL_PROJECT/jobscripts" ;;
  esac
  [ -z "${BASH_VERSION:-}" ] || complete -C "$ETL_PROJECT/jobscripts/etl" etl
  return 0
  ;;
esac

# Two files hold variables such as SMTP_HOST, ETL_EMAIL_PASSWORD or PGHOST; Git tracks neither. One belongs to the user
# and has secrets; the other is for all users of this installation and has none. Each line is NAME=value; the value goes
# to the end of the line (one pair of quotes around it is removed). Nothing in them is run.
# If HOME is not set, it is found in the password database.
user_home=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
ETL_SECRETS_FILE="${ETL_SECRETS_FILE:-$user_home/.config/client_etl_workflow/secrets.env}"
ETL_SITE_FILE="${ETL_SITE_FILE:-$ETL_PROJECT/site.env}"

# Prints what is wrong with a file whose mode has any of these bits, and how to correct it.
refuse_mode() {
  local file="$1" bits="$2" told="$3" cure="$4"
  [ $((0$(stat -L -c %a -- "$file") & 0$bits)) -eq 0 ] || {
    printf "env.sh: %s can be %s by others; type: chmod %s '%s'\n" "$file" "$told" "$cure" "$file" >&2
    exit 1
  }
}

read_variables() {
  local file="$1" line="" name="" value="" is_set="" return_character=""
  return_character=$(printf '\r')
  [ -r "$file" ] || {
    printf "env.sh: %s cannot be read by %s; see whose it is, and its mode\n" "$file" "$(id -un)" >&2
    exit 1
  }
  while IFS= read -r line || [ -n "$line" ]; do
    case "${line#"${line%%[![:space:]]*}"}" in '' | '#'*) continue ;; esac
    case $line in export[[:space:]]*)
      line=${line#export}
      line=${line#"${line%%[![:space:]]*}"}
      ;;
    esac
    name=${line%%=*} value=${line#*=}
    case $line in *=*) ;; *) name="" ;; esac
    case $name in '' | [!A-Z_]* | *[!A-Z0-9_]*)
      printf 'env.sh: a line of %s is not of the form NAME=value (its text is not shown)\n' "$file" >&2
      exit 1
      ;;
    esac
    value=${value%"$return_character"}
    case $value in
    \'*\') value=${value#\'} value=${value%\'} ;;
    \"*\") value=${value#\"} value=${value%\"} ;;
    esac
    eval "is_set=\${$name+yes}" # nothing but letters, digits and _ is in the name
    [ -n "$is_set" ] || export "$name=$value"
  done <"$file"
}

if [ -e "$ETL_SECRETS_FILE" ]; then
  refuse_mode "$ETL_SECRETS_FILE" 077 read 600
  read_variables "$ETL_SECRETS_FILE"
fi
if [ -e "$ETL_SITE_FILE" ]; then
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
if [ ! -O "$ETL_PROJECT" ] || { [ -e "$ETL_LOGS_DIR" ] && [ ! -O "$ETL_LOGS_DIR" ]; }; then
  export PYTHONDONTWRITEBYTECODE=1
fi

# The rest is for bash: the functions of this project's scripts.
[ -n "${BASH_VERSION:-}" ] || return 0

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

# Removes characters that could control a terminal or turn the writing, because texts in tables and functions are untrusted.
without_controls() {
  LC_ALL=C sed -u -e $'s/[\x01-\x08\x0b-\x1f\x7f]/?/g; s/\xc2[\x80-\x9f]/?/g' \
    -e $'s/\xe2\x80[\x8e\x8f\xa8-\xae]/?/g; s/\xe2\x81[\xa6-\xa9]/?/g; s/\xd8\x9c/?/g'
}

# Ends the script with one sentence, and with the given status (default 1).
fail() {
  say "${0##*/}: $1" >&2
  exit "${2:-1}"
}

# Ends the script that was called with words that it does not take.
not_understood() { fail "'$1' is not understood; type: bash $0 --help" 64; }

# A shell job calls this first, so that it also goes through the door when it is started by hand, and so that the run's
# reason has the line at which set -e ended it.
through_the_door() {
  [[ -n ${ETL_RUN_UUID:-} ]] || exec bash "$ETL_PROJECT/jobscripts/run_python_etl_script.sh" "$0" "$@"
  set -E
  trap 'say_stopped "$?" "$LINENO" "${BASH_SOURCE[0]##*/}"' ERR
}

say_stopped() { [[ $- != *e* ]] || say "stopped at line $2 of $3: status $1" >&2; }

# A chain runs each of its jobs with this function, as a separate run, and exits with $worst: a failure counts more than 75.
worst=0
step() {
  local status=0
  bash "$ETL_PROJECT/jobscripts/run_python_etl_script.sh" "$@" || status=$?
  if [[ $worst == 0 || ($worst == 75 && $status != 0) ]]; then
    worst=$status
  fi
}
