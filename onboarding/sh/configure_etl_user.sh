#!/usr/bin/env bash
# Usage: configure_etl_user.sh [--dry-run]
#
# Makes what the jobs need on this machine: the user that they run as (etl_user: no password, no shell, no rights by
# sudo), the group of those who look after them (etl_group: that user, and whoever calls this), and the directories
# that they write. Run it as root, before install_dependencies.sh; run again it changes only what differs.
#
# The programs stay yours: the jobs can read them and no more. What lies in logs/, archive/, file_watcher/ and backups/
# is given to the jobs' user. Where a directory above the checkout is closed to others, such as your home, that user
# alone may pass through it (an access control list).
#
#   ETL_CRON_USER   another name for the user, in site.env
#
# Examples:
#   sudo bash onboarding/sh/configure_etl_user.sh --dry-run
#   sudo bash onboarding/sh/configure_etl_user.sh
set -euo pipefail
umask 022

# shellcheck source=onboarding/sh/changes.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/changes.sh"

readonly GROUP=etl_group
readonly ADMINISTRATORS='sudo admin wheel root'

# ---- what must be so before anything is changed -------------------------------------------------

check_machine() {
  need_root
  local tool
  for tool in useradd:passwd setpriv:util-linux; do
    command -v "${tool%%:*}" >/dev/null || fail "there is no ${tool%%:*}; type: sudo apt-get install ${tool##*:}"
  done
  [[ $job_user =~ ^[a-z_][a-z0-9_-]{0,31}$ && $job_user != root ]] ||
    fail "ETL_CRON_USER is '$job_user'; it must be a plain name of small letters, digits, _ and -, and not root" 64
  [[ $owner != "$job_user" ]] ||
    fail "$ETL_PROJECT belongs to $job_user, so a job could change what root runs; type: chown -R YOU: '$ETL_PROJECT'"
  local directory
  for directory in "${shared[@]}" "$ETL_BACKUP_DIR"; do
    check_data_directory "$directory"
  done
  [[ $ETL_HOME == "$ETL_PROJECT" ]] || check_data_directory "$ETL_HOME"
  if [[ ${#closed[@]} -gt 0 ]] && ! command -v setfacl >/dev/null; then
    fail "${closed[0]} is closed to others, and the program that lets $job_user through is not there; type: sudo apt-get install acl"
  fi
}

# What is in these is about to be given away, so a directory of the system's must not be among them.
check_data_directory() {
  local directory=$1 of
  [[ $directory == /*/* && $directory == "$(realpath -m -s -- "$directory")" ]] ||
    fail "'$directory' is no directory for data; it must be an absolute path, two levels deep or more" 64
  [[ $ETL_PROJECT/ != "$directory"/* ]] || fail "$ETL_PROJECT lies in $directory, which therefore cannot be a directory for data" 64
  [[ ! -L $directory ]] || fail "$directory is a link; name the directory itself (in site.env)"
  [[ -e $directory ]] || return 0
  [[ -d $directory ]] || fail "$directory is not a directory"
  of=$(stat -c %U -- "$directory")
  [[ $of == "$job_user" || $of == "$owner" || $of == "$operator" ]] ||
    fail "$directory belongs to $of: it is left alone; if the jobs are to have it, type: sudo chown $job_user '$directory'"
  ! getent passwd | cut -d: -f6 | grep -Fxq -- "$directory" || fail "$directory is somebody's home; choose another directory" 64
}

# Lists the directories on the way to the checkout that the jobs' user cannot pass, the outermost first.
closed_directories() {
  local directory=$ETL_PROJECT
  local -a found=()
  while [[ $directory != / ]]; do
    directory=$(dirname -- "$directory")
    passable "$directory" || found=("$directory" "${found[@]}")
  done
  [[ ${#found[@]} -eq 0 ]] || printf '%s\n' "${found[@]}"
}

as_job_user() { setpriv --reuid="$job_user" --regid="$GROUP" --init-groups -- "$@"; }

passable() {
  if getent group "$GROUP" >/dev/null && getent passwd "$job_user" >/dev/null; then
    as_job_user test -x "$1"
  else
    [[ $((8#$(stat -c %a -- "$1") & 1)) -ne 0 ]]
  fi
}

# ---- the changes ---------------------------------------------------------------------------------

ensure_user() {
  if ! getent passwd "$job_user" >/dev/null; then
    change "make the user $job_user (no password, no shell)" \
      useradd --system --gid "$GROUP" --create-home --home-dir "/home/$job_user" --shell /usr/sbin/nologin -- "$job_user"
  fi
  ensure_member "$job_user" "$GROUP"
  local group
  for group in $ADMINISTRATORS; do
    ! in_group "$job_user" "$group" ||
      say "warning: $job_user is in the group $group, and so can be root; type: sudo gpasswd --delete $job_user $group"
  done
}

ensure_operator() {
  [[ $operator == root ]] || ensure_member "$operator" "$GROUP"
}

ensure_way_in() {
  local directory
  for directory in "${closed[@]}"; do
    change "let $job_user pass through $directory" setfacl --modify "u:$job_user:--x" -- "$directory"
  done
  local -a programs=("$ETL_PROJECT"/{env.sh,pyproject.toml,jobscripts,systemscripts,onboarding})
  # A file of credentials may be there from an older installation, and is nobody else's.
  if [[ -n $(programs_of_mode ! -perm -o+r -print -quit) || -n $(programs_of_mode -type d ! -perm -o+x -print -quit) || $((8#$(stat -c %a -- "$ETL_PROJECT") & 5)) -ne 5 ]]; then
    change "let everybody read the programs in $ETL_PROJECT" open_programs
  fi
  if [[ -n $(programs_of_mode -perm /o+w -print -quit) || -n $(programs_of_mode -group "$GROUP" -perm /g+w -print -quit 2>/dev/null) ]]; then
    change "let nobody else write the programs in $ETL_PROJECT" shut_programs
  fi
}

programs_of_mode() { find "${programs[@]}" ! -type l ! -name credentials.json "$@"; }

open_programs() {
  chmod -- o+rx "$ETL_PROJECT"
  programs_of_mode -exec chmod -- o+rX {} +
}

shut_programs() {
  chmod -- o-w "$ETL_PROJECT"
  programs_of_mode -exec chmod -- o-w {} +
  programs_of_mode -group "$GROUP" -exec chmod -- g-w {} +
}

# Makes a directory of the jobs'; what is in it is given to them with these rights.
ensure_data() {
  local directory=$1 mode=$2 rights=$3
  ensure_directory "$directory" "$job_user:$GROUP" "$mode"
  if [[ -d $directory && -n $(find "$directory" -xdev \( ! -user "$job_user" -o ! -group "$GROUP" \) -print -quit 2>/dev/null) ]]; then
    change "give what is in $directory to $job_user and $GROUP" give_away "$directory" "$rights"
  fi
}

# Links are given as links; nothing that they lead to is touched. The rights are set without root's.
give_away() {
  chown -R -P -h -- "$job_user:$GROUP" "$1"
  as_job_user chmod -R -- "$2" "$1"
}

secrets_template() {
  cat <<'END'
# Settings of the jobs' user that nobody else may read: NAME=value a line, the value as it stands. Take the # away.
#SMTP_HOST=smtp.gmail.com
#ETL_EMAIL=feeds@example.com
#ETL_EMAIL_PASSWORD=
#ETL_ALERT_EMAIL=you@example.com
#ETL_PING_URL=
END
}

write_secrets() {
  write_file "$1" 600
  chown -- "$job_user:$GROUP" "$1"
}

ensure_secrets() {
  local home=/home/$job_user
  home=$(getent passwd "$job_user" | cut -d: -f6) || true
  secrets=${home:-/home/$job_user}/.config/client_etl_workflow/secrets.env
  ensure_directory "$(dirname -- "$(dirname -- "$secrets")")" "$job_user:$GROUP" 700
  ensure_directory "$(dirname -- "$secrets")" "$job_user:$GROUP" 700
  [[ -e $secrets ]] || change "write $secrets, for the mail server and its password" write_secrets "$secrets" < <(secrets_template)
}

next_steps() {
  [[ $dry_run == no ]] || return 0
  cat <<END

What to do next
1. The mail server and its password, where alerts go:   sudoedit $secrets
2. PostgreSQL, Python and what else the jobs need:      sudo bash onboarding/sh/install_dependencies.sh
END
  [[ $operator == root ]] || say "Who was not in $GROUP before is from the next login on: $operator."
}

main() {
  dry_run_or_help "$@"
  job_user=${ETL_CRON_USER:-etl_user}
  owner=$(stat -c %U -- "$ETL_PROJECT") operator=${SUDO_USER:-$owner}
  local -a shared=("$ETL_LOGS_DIR" "$ETL_ARCHIVE_DIR" "$ETL_FILE_WATCHER_DIR" "$ETL_FILE_WATCHER_DIR/file_watcher_temp") closed=()
  mapfile -t closed < <(closed_directories)
  check_machine

  ensure_group "$GROUP"
  ensure_user
  ensure_operator
  ensure_way_in
  [[ $ETL_HOME == "$ETL_PROJECT" ]] || ensure_directory "$ETL_HOME" "$job_user:$GROUP" 2770
  local directory
  for directory in "${shared[@]}"; do
    ensure_data "$directory" 2770 ug+rwX,o-rwx
  done
  ensure_data "$ETL_BACKUP_DIR" 700 u+rwX,go-rwx
  ensure_secrets
  all_done
  next_steps
}

main "$@"
