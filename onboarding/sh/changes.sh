# shellcheck shell=bash
# Functions by which an administrator's scripts change the machine. Each change is printed, and made only if something
# differs; in a dry run (dry_run=yes) it is only printed. A script that sources this may be run again at any time.

# shellcheck source=env.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../../env.sh"

dry_run=no
changes=0

# Prints what will be done, then does it; in a dry run it only prints it.
change() {
  local what=$1
  shift
  if [[ $dry_run == yes ]]; then
    say "would $what"
    return
  fi
  say "$what"
  changes=$((changes + 1))
  "$@"
}

# Says what it is about and asks; without a terminal the answer is no.
agrees() {
  local about=$1 question=$2 answer=''
  [[ -t 0 && -t 2 ]] || return 1
  say "$about" >&2
  read -r -p "$question [y/N] " answer || true
  [[ $answer == [yY]* ]]
}

# Ends a script that may be run again: says so if there was nothing to do.
all_done() {
  [[ $dry_run == yes || $changes -gt 0 ]] || say 'all of it was there already; nothing was changed'
}

# Reads the arguments of a script that takes only these.
dry_run_or_help() {
  case "$*" in
  '') ;;
  --dry-run) dry_run=yes ;;
  -h | --help) usage 0 ;;
  *) not_understood "$*" ;;
  esac
}

need_root() {
  [[ $(id -u) -eq 0 ]] || fail "it must be run by root: sudo bash onboarding/sh/${0##*/} …" 64
}

# Installs the missing packages.
ensure_packages() {
  local package installed
  local -a missing=()
  # It ends with 1 where it does not know one of them.
  installed=$(dpkg-query --show --showformat='${Package} ${db:Status-Status}\n' -- "$@" 2>/dev/null) || true
  for package in "$@"; do
    [[ $'\n'$installed$'\n' == *$'\n'"$package installed"$'\n'* ]] || missing+=("$package")
  done
  [[ ${#missing[@]} -eq 0 ]] || change "install ${missing[*]}" install_packages "${missing[@]}"
}

install_packages() {
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -- "$@" >/dev/null ||
    fail "apt-get could not install all of: $* (what it said is above); nothing else was done"
}

# Writes standard input to a file of root, whole, after the given check.
write_file() {
  local target=$1 mode=$2 new
  shift 2
  new=$(mktemp -- "$(dirname -- "$target")/.$(basename -- "$target").XXXXXX")
  cat >"$new"
  chmod -- "$mode" "$new"
  if [[ $# -gt 0 ]] && ! "$@" "$new" >/dev/null; then
    rm -f -- "$new"
    fail "$target was not written: $1 does not accept it"
  fi
  mv -T -- "$new" "$target"
}

has_content() { [[ -f $1 && ! -L $1 && $(stat -c '%u %a' -- "$1") == "0 $2" && $(<"$1") == "$3" ]]; }

ensure_file() {
  local target=$1 mode=$2 content=$3
  shift 3
  has_content "$target" "$mode" "$content" || change "write $target" write_file "$target" "$mode" "$@" <<<"$content"
}

make_directory() {
  mkdir -p -- "$1"
  chown -h -- "$2" "$1"
  chmod -- "$3" "$1"
}

ensure_directory() {
  [[ ! -L $1 ]] || fail "$1 is a link; it must be a directory of its own"
  [[ -d $1 && $(stat -c '%U:%G %a' -- "$1") == "$2 $3" ]] || change "make $1 ($2, $3)" make_directory "$@"
}

in_group() { id -nG -- "$1" 2>/dev/null | tr ' ' '\n' | grep -Fxq -- "$2"; }

ensure_member() { in_group "$1" "$2" || change "add $1 to the group $2" usermod -aG "$2" -- "$1"; }

ensure_group() { getent group "$1" >/dev/null || change "make the group $1" groupadd --system -- "$1"; }
