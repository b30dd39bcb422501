#!/usr/bin/env bash
# Usage: configure_etl_user.sh [--dry-run] [--remove-old-sudo] [--give-directories]
#
# Makes the user, the group and the directories of the jobs. The user (etl_user) has no password and no shell; by sudo
# it may run one exact command, which writes cron's file with lines of that user only. The group (etl_group) is for
# people who look after the jobs: it has that user, and the person who calls this. Run it as root, before
# install_dependencies.sh. Run again, it changes only what differs.
#
# The programs stay yours: the jobs can only read them. The contents of logs/, archive/, file_watcher/ and backups/ are
# given to the jobs' user. If a directory above is closed to others, such as your home, only that user may pass through
# it (by an access control list).
#
# A rule of sudo that allows the jobs' user more than that command, as an older installation left it, is named with its
# file and line. The line is removed after you say yes, or with --remove-old-sudo; the former file is kept in
# /var/backups/client_etl_workflow. Otherwise nothing is done.
#
# A directory of data that has files in it, such as the file_watcher/ of an older installation, is given to the jobs' user
# after you say yes, or with --give-directories. Nothing else in that installation changes its owner.
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
# shellcheck source=onboarding/sh/old_sudo_rules.sh
source "$ETL_PROJECT/onboarding/sh/old_sudo_rules.sh"

readonly GROUP=etl_group
readonly ADMINISTRATORS='sudo admin wheel root'

# Changes in places that the jobs' user can write are made as that user, so that root follows no path that it could redirect.
as_job_user() { setpriv --reuid="$job_user" --regid="$GROUP" --init-groups -- "$@"; }

user_is_there() { getent group "$GROUP" >/dev/null && getent passwd "$job_user" >/dev/null; }

# ---- checks before anything is changed ----------------------------------------------------------

check_machine() {
  local tool directory
  for tool in useradd:passwd setpriv:util-linux visudo:sudo; do
    command -v "${tool%%:*}" >/dev/null || fail "there is no ${tool%%:*}; type: apt-get install ${tool##*:}"
  done
  [[ $job_user =~ ^[a-z_][a-z0-9_-]{0,31}$ && $job_user != root ]] ||
    fail "ETL_CRON_USER is '$job_user'; it must be a plain name of small letters, digits, _ and -, and not root" 64
  [[ $owner != "$job_user" ]] ||
    fail "$ETL_PROJECT belongs to $job_user, so a job could change what root runs; type: chown -R YOU: '$ETL_PROJECT'"
  [[ $ETL_HOME == "$ETL_PROJECT" ]] || check_home
  for directory in "${shared[@]}" "$ETL_BACKUP_DIR"; do
    check_data_directory "$directory"
  done
  if getent passwd "$job_user" >/dev/null; then
    check_former_user
  fi
  if [[ ${#closed[@]} -gt 0 ]] && ! command -v setfacl >/dev/null; then
    fail "${closed[0]} is closed to others, and setfacl, which lets $job_user through, is missing; type: sudo apt-get install acl"
  fi
}

# These directories get a new owner, so they must not contain programs or belong to the system.
check_data_directory() {
  local directory=$1 of about
  check_place "$directory"
  [[ -e $directory ]] || return 0
  of=$(stat -c %U -- "$directory")
  [[ $of != "$job_user" ]] || return 0
  is_a_person "$of" || fail "$directory belongs to $of, and is left alone; choose another directory (in site.env)"
  ! getent passwd | cut -d: -f6 | grep -Fxq -- "$directory" || fail "$directory is somebody's home; choose another directory" 64
  [[ $directory != "$ETL_PROJECT"/* && -n $(ls -A -- "$directory") ]] || return 0
  [[ $give_directories == no ]] || return 0
  about="$directory belongs to $of and is not empty: it would be given to $job_user, whose jobs load, move and delete what is in it"
  if [[ $dry_run == yes ]]; then
    say "would ask: $about; the answer yes without a question is --give-directories"
    return 0
  fi
  agrees "$about" 'Give it to the jobs?' ||
    fail "$about; to give it to the jobs, type: sudo bash onboarding/sh/configure_etl_user.sh --give-directories; else choose an empty directory (in site.env)"
}

check_place() {
  local directory=$1
  [[ $directory == /*/* && $directory == "$(realpath -m -s -- "$directory")" ]] ||
    fail "'$directory' cannot be a directory for data; it must be an absolute path, at least two levels deep" 64
  case $directory in
  "$ETL_PROJECT"/logs | "$ETL_PROJECT"/archive | "$ETL_PROJECT"/file_watcher | "$ETL_PROJECT"/file_watcher/file_watcher_temp | "$ETL_PROJECT"/backups) ;;
  "$ETL_PROJECT"/*) fail "$directory lies among the programs; choose a directory outside of $ETL_PROJECT" 64 ;;
  *) [[ $ETL_PROJECT/ != "$directory"/* ]] || fail "$directory contains $ETL_PROJECT, so it cannot be a directory for data" 64 ;;
  esac
  [[ ! -L $directory ]] || fail "$directory is a link; name the directory itself (in site.env)"
  [[ ! -e $directory || -d $directory ]] || fail "$directory is not a directory"
}

# The system's own users are none: their numbers are below 1000, and nobody's is above 60000.
is_a_person() {
  local number
  number=$(id -u -- "$1" 2>/dev/null || echo 0)
  [[ $1 == "$owner" || $1 == "$operator" ]] || ((number >= 1000 && number < 60000))
}

# The directory of an older installation keeps its owner; only the directories of data in it are given away. That owner
# could replace them, so it is somebody who may do so anyway.
check_home() {
  local of
  if ! is_in_use "$ETL_HOME"; then
    check_data_directory "$ETL_HOME"
    return
  fi
  check_place "$ETL_HOME"
  of=$(stat -c %U -- "$ETL_HOME")
  [[ $of == root || $of == "$job_user" || $of == "$owner" || $of == "$operator" ]] ||
    fail "$ETL_HOME belongs to $of, who could replace the directories of the jobs in it; type: sudo chown $owner: '$ETL_HOME'; or choose another directory (ETL_HOME in site.env)"
}

is_in_use() { [[ -d $1 && -n $(ls -A -- "$1") ]]; }

# An existing user of this name may have more rights than the jobs need.
check_former_user() {
  local home shell password group
  home=$(getent passwd "$job_user" | cut -d: -f6) shell=$(getent passwd "$job_user" | cut -d: -f7)
  password=$(getent shadow "$job_user" | cut -d: -f2)
  [[ -d $home && $(stat -c %U -- "$home") == "$job_user" ]] ||
    fail "the home of $job_user, $home, does not exist or belongs to somebody else; type: sudo usermod --move-home --home /home/$job_user $job_user"
  [[ $shell == */nologin || $shell == */false ]] ||
    say "warning: $job_user has the shell $shell; type: sudo usermod --shell /usr/sbin/nologin $job_user"
  [[ $password == '!'* || $password == '*'* ]] ||
    say "warning: $job_user has a password, or an empty one; type: sudo passwd --lock $job_user"
  for group in $ADMINISTRATORS; do
    ! in_group "$job_user" "$group" ||
      say "warning: $job_user is in the group $group, and so can be root; type: sudo gpasswd --delete $job_user $group"
  done
}

# Lists the directories above the given ones that the jobs' user cannot enter, each before those below it.
closed_directories() {
  local directory
  for directory in "$@"; do
    while [[ $directory == /?* ]]; do
      directory=${directory%/*}
      printf '%s\n' "${directory:-/}"
    done
  done | sort -u | while IFS= read -r directory; do
    [[ ! -d $directory ]] || passable "$directory" || printf '%s\n' "$directory"
  done
}

passable() {
  if user_is_there; then
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
}

ensure_operator() {
  [[ $operator == root ]] || in_group "$operator" "$GROUP" || is_new_member=yes
  [[ $is_new_member == no ]] || ensure_member "$operator" "$GROUP"
}

ensure_way_in() {
  local directory
  for directory in "${closed[@]}"; do
    change "let $job_user pass through $directory" setfacl --modify "u:$job_user:--x" -- "$directory"
  done
  if [[ -e $ETL_SITE_FILE && $((8#$(stat -c %a -- "$ETL_SITE_FILE") & 4)) -eq 0 ]]; then
    change "let everybody read $ETL_SITE_FILE" chmod -- o+r "$ETL_SITE_FILE"
  fi
  if [[ $((8#$(stat -c %a -- "$ETL_PROJECT") & 5)) -ne 5 || -n $(programs ! -perm -o+r -print -quit) || -n $(programs -type d ! -perm -o+x -print -quit) ]]; then
    change "let everybody read the programs in $ETL_PROJECT" open_programs
  fi
  ensure_programs_are_safe
}

# A file of credentials may exist from an older installation; nobody else may read it.
programs() { find "$ETL_PROJECT"/{env.sh,pyproject.toml,jobscripts,systemscripts,onboarding} ! -type l ! -name credentials.json "$@"; }

open_programs() {
  chmod -- o+rx "$ETL_PROJECT"
  programs -exec chmod -- o+rX {} +
}

# Searches the checkout without its data directories.
in_checkout() {
  local -a data=()
  local name
  for name in logs archive file_watcher backups pgdata demo; do
    data+=(-path "$ETL_PROJECT/$name" -prune -o)
  done
  find "$ETL_PROJECT" "${data[@]}" ! -type l "$@"
}

# Neither the jobs' user nor everybody may change or replace programs that root and you run.
ensure_programs_are_safe() {
  local writable directory=$ETL_PROJECT
  user_is_there || return 0
  if [[ -n $(in_checkout -perm /o+w -print -quit) || -n $(writable_by_the_jobs) ]]; then
    change "let nobody else write in $ETL_PROJECT (but for the data)" in_checkout -exec chmod -- go-w {} +
    writable=$(writable_by_the_jobs)
    [[ -z $writable || $dry_run == yes ]] || fail "$job_user can still write $writable; check its owner, and: getfacl '$writable'"
  fi
  while [[ $directory != / ]]; do
    directory=$(dirname -- "$directory")
    [[ -k $directory ]] || ! as_job_user test -w "$directory" ||
      fail "$job_user can write $directory, and so could replace the programs; type: chmod go-w '$directory'"
  done
}

# The jobs' user searches itself: what it cannot see it cannot write.
writable_by_the_jobs() {
  export -f in_checkout
  as_job_user env ETL_PROJECT="$ETL_PROJECT" bash -c 'in_checkout -writable -print -quit 2>/dev/null || true'
}

# Makes a directory of the jobs; its contents are given to them with these rights.
ensure_data() {
  local directory=$1 mode=$2 rights=$3
  [[ -d $directory && $(stat -c '%U:%G %a' -- "$directory") == "$job_user:$GROUP $mode" ]] ||
    change "make $directory ($job_user:$GROUP, $mode)" make_data_directory "$directory" "$mode"
  if [[ -d $directory && -n $(not_theirs "$directory") ]]; then
    change "give what is in $directory to $job_user and $GROUP" give_away "$directory" "$rights"
  fi
}

not_theirs() {
  if user_is_there; then
    find "$1" -mindepth 1 -xdev \( ! -user "$job_user" -o ! -group "$GROUP" -o -type d -name .taken -perm /077 \) -print -quit
  else
    find "$1" -mindepth 1 -print -quit
  fi
}

make_data_directory() {
  local directory=$1 mode=$2 parent
  parent=$(dirname -- "$directory")
  mkdir -p -- "$parent"
  if as_job_user test -w "$parent"; then
    as_job_user install -d -m "$mode" -- "$directory"
  else
    make_directory "$directory" "$job_user:$GROUP" "$mode"
  fi
}

# Links themselves change their owner; their targets are not touched. Only the jobs' user may enter the folders of files
# that are being loaded; an import refuses others.
give_away() {
  chown -R -P -h -- "$job_user:$GROUP" "$1"
  as_job_user chmod -R -- "$2" "$1"
  as_job_user find "$1" -xdev -type d -name .taken -exec chmod -- 700 {} +
}

secrets_template() {
  cat <<'END'
# Settings of the jobs' user that nobody else may read: one NAME=value per line. Remove the # to set one.
#SMTP_HOST=smtp.gmail.com
#ETL_EMAIL=feeds@example.com
#ETL_EMAIL_PASSWORD=
#ETL_ALERT_EMAIL=you@example.com
#ETL_PING_URL=
END
}

write_secrets() {
  # shellcheck disable=SC2016 # the other shell's
  secrets_template | as_job_user bash -c 'umask 077 && mkdir -p -- "${1%/*}" && set -o noclobber && cat >"$1"' - "$secrets"
}

repair_secrets() {
  chown -h -- "$job_user:$GROUP" "$secrets"
  as_job_user chmod -- 600 "$secrets"
}

ensure_secrets() {
  local home
  home=$(getent passwd "$job_user" | cut -d: -f6) || true
  secrets=${home:-/home/$job_user}/.config/client_etl_workflow/secrets.env
  if [[ ! -e $secrets ]]; then
    change "write $secrets, for the mail server and its password" write_secrets
  elif [[ $(stat -c '%U %a' -- "$secrets") != "$job_user "[46]00 ]]; then
    change "give $secrets to $job_user alone" repair_secrets
  fi
}

sudo_rule() {
  cat <<END
# Written by configure_etl_user.sh: write cron's file, with lines that run as the same user only.
$job_user ALL=(root) NOPASSWD: $lib_dir/write_cron_file ""
END
}

ensure_cron_right() {
  ensure_directory "$lib_dir" root:root 755
  ensure_file "$lib_dir/write_cron_file" 755 "$(<"$ETL_PROJECT/systemscripts/cron/cron_file_writer.py")"
  ensure_file "$sudoers_dir/etl_cron" 440 "$(sudo_rule)" visudo -c -f
}

# The short command for people on this machine: sudo -H -u etl_user etl …
ensure_command() {
  local link=$bin_dir/etl
  if [[ $(readlink -- "$link") == "$ETL_PROJECT/jobscripts/etl" ]]; then
    return
  elif [[ -e $link || -L $link ]]; then
    say "warning: $link exists already and belongs to another installation; it is left alone"
  else
    change "make the command etl ($link)" ln -s -- "$ETL_PROJECT/jobscripts/etl" "$link"
  fi
}

next_steps() {
  local step number=0
  local -a steps=()
  [[ $dry_run == no ]] || return 0
  as_job_user grep -Eqs '^(SMTP_HOST|ETL_EMAIL)=' "$secrets" ||
    steps+=("The mail server and its password, where alerts go:   sudoedit $secrets")
  [[ -e $ETL_VENV/.installed ]] ||
    steps+=("PostgreSQL, Python and what else the jobs need:      sudo bash onboarding/sh/install_dependencies.sh")
  [[ ! -e $ETL_VENV/.installed ]] ||
    steps+=("Whether the jobs have what they need:                sudo -H -u $job_user etl doctor")
  printf '\nWhat to do next\n'
  for step in "${steps[@]}"; do
    number=$((number + 1))
    say "$number. $step"
  done
  [[ $is_new_member == no ]] || say "$operator is in $GROUP from the next login on."
}

read_arguments() {
  local argument
  for argument in "$@"; do
    case $argument in
    --remove-old-sudo) remove_old_sudo=yes ;;
    --give-directories) give_directories=yes ;;
    *) dry_run_or_help "$argument" ;;
    esac
  done
}

main() {
  remove_old_sudo=no give_directories=no is_new_member=no
  read_arguments "$@"
  need_root
  job_user=${ETL_CRON_USER:-etl_user}
  owner=$(stat -c %U -- "$ETL_PROJECT") operator=${SUDO_USER:-$owner}
  lib_dir=${ETL_LIB_DIR:-/usr/local/lib/client_etl_workflow} sudoers_dir=${ETL_SUDOERS_DIR:-/etc/sudoers.d}
  bin_dir=${ETL_BIN_DIR:-/usr/local/bin} sudo_backup_dir=/var/backups/client_etl_workflow
  local -a shared=("$ETL_LOGS_DIR" "$ETL_ARCHIVE_DIR" "$ETL_FILE_WATCHER_DIR" "$ETL_FILE_WATCHER_DIR/file_watcher_temp") closed=()
  mapfile -t closed < <(closed_directories "$ETL_PROJECT" "$ETL_HOME" "${shared[@]}" "$ETL_BACKUP_DIR")
  local -a rules_to_remove=()
  check_machine
  check_old_rules

  remove_old_rules
  ensure_group "$GROUP"
  ensure_user
  ensure_operator
  ensure_way_in
  is_in_use "$ETL_HOME" || [[ -d $ETL_HOME && $(stat -c '%U:%G %a' -- "$ETL_HOME") == "$job_user:$GROUP 2770" ]] ||
    change "make $ETL_HOME ($job_user:$GROUP, 2770)" make_data_directory "$ETL_HOME" 2770
  local directory
  for directory in "${shared[@]}"; do
    ensure_data "$directory" 2770 ug+rwX,o-rwx
  done
  ensure_data "$ETL_BACKUP_DIR" 700 u+rwX,go-rwx
  ensure_secrets
  ensure_cron_right
  ensure_command
  all_done
  next_steps
}

main "$@"
