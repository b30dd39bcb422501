#!/usr/bin/env bash
# Usage: setup_sftp.sh add CLIENT --key FILE [--dry-run]
#        setup_sftp.sh remove CLIENT [--dry-run]
#        setup_sftp.sh list
#
# Gives a client a folder on this machine. The client reaches it only by SFTP with its own key: without a shell,
# a password or forwarding, and without seeing other clients. The job sftp_exchange.py takes the files from
# incoming/ and puts receipts into outgoing/. Run it as root. Run again, it changes only what differs. CLIENT is a
# short name such as acme: small letters, digits and "-". FILE has the client's public keys, one per line; they
# replace the former keys. `remove` deletes none of the client's files.
#
# Needs Debian 12, Ubuntu 24.04 or Mint 22 with openssh-server, sudo and python3.
#   ETL_SFTP_ROOT     the directory of the folders (default: the present one, or /srv/sftp); only root may write above it
#   ETL_CRON_USER     the jobs' user (etl_user)
#   ETL_SSH_DIR  ETL_SUDOERS_DIR  ETL_LIB_DIR   /etc/ssh, /etc/sudoers.d, /usr/local/lib/client_etl_workflow
#
# Example:
#   sudo bash onboarding/sh/setup_sftp.sh add acme --key acme.pub
set -euo pipefail
umask 022

# shellcheck source=onboarding/sh/changes.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/changes.sh"

readonly GROUP=etl_sftp
readonly KEY_LINE='^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com) [A-Za-z0-9+/]+={0,3}( [[:print:]]*)?$'
readonly RSA_BITS=2048
# The settings of sshd for a client that the promise above needs.
readonly IN_FORCE='allowagentforwarding no
allowstreamlocalforwarding no
allowtcpforwarding no
authenticationmethods publickey
authorizedkeyscommand none
disableforwarding yes
forcecommand internal-sftp -u 0007 -l INFO
kbdinteractiveauthentication no
passwordauthentication no
permittty no
permittunnel no
permituserrc no
pubkeyauthentication yes
trustedusercakeys none
x11forwarding no'

# ---- checks before anything is changed ----------------------------------------------------------

check_machine() {
  need_root
  local tool
  for tool in sshd:openssh-server ssh-keygen:openssh-client visudo:sudo pkill:procps /usr/bin/python3:python3 useradd:passwd; do
    command -v "${tool%%:*}" >/dev/null || fail "there is no ${tool%%:*}; type: sudo apt-get install ${tool##*:}"
  done
  [[ $(/usr/bin/python3 -c 'import sys; print(sys.version_info >= (3, 9))') == True ]] || fail '/usr/bin/python3 is older than 3.9'
  id -u -- "$job_user" >/dev/null 2>&1 ||
    fail "there is no user $job_user for the jobs; make it, or name another: ETL_CRON_USER=… setup_sftp.sh …"
  [[ $job_user =~ ^[a-z_][a-z0-9_-]*$ ]] || fail "ETL_CRON_USER is '$job_user'; sudo's rules need a plain name of small letters, digits, _ and -" 64
  grep -Eqi "^[[:space:]]*Include[[:space:]].*sshd_config\.d/\*\.conf" "$ssh_dir/sshd_config" ||
    fail "$ssh_dir/sshd_config has no line: Include /etc/ssh/sshd_config.d/*.conf; add it as the first line, then run this again"
  check_above "$root"
}

# sshd refuses a chroot that others than root could replace, and so does this script.
check_above() {
  [[ $1 =~ ^(/[A-Za-z0-9._-]+)+$ && $1 == "$(readlink -m -- "$1")" ]] ||
    fail "ETL_SFTP_ROOT is '$1'; it must be an absolute path without links, of letters, digits, '.', '_' and '-'" 64
  local directory=$1 owner mode
  while :; do
    if [[ -e $directory ]]; then
      read -r owner mode < <(stat -c '%u %a' -- "$directory")
      [[ -d $directory && $owner == 0 && $((0$mode & 022)) == 0 ]] ||
        fail "$directory can be written by others than root, so no client's folder may lie below it; choose another ETL_SFTP_ROOT"
    fi
    [[ $directory != / ]] || return 0
    directory=$(dirname -- "$directory")
  done
}

# Prints the directory of the existing clients' folders; all clients share one.
former_root() { sed -n 's|^ *ChrootDirectory \(.*\)/%u$|\1|p' -- "$rules" 2>/dev/null || true; }

check_one_root() {
  local former
  former=$(former_root)
  [[ -z $former || $former == "$root" ]] ||
    fail "ETL_SFTP_ROOT is $root, but the clients' folders are in $former: the existing clients could no longer log in"
}

# Prints the file's keys for sshd, one per line.
read_keys() {
  local file=$1 line number=0 found=0 about
  [[ -f $file && -r $file ]] || fail "there is no key file $file" 64
  [[ $(stat -L -c %s -- "$file") -le 65536 ]] || fail "$file is too large for a file of public keys" 64
  ! grep -q 'PRIVATE KEY' -- "$file" ||
    fail "$file is a private key, which its owner must keep; the client sends the file that ends in .pub" 64
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1)) line=${line%$'\r'}
    [[ $line =~ ^[[:space:]]*(#|$) ]] && continue
    [[ $line =~ $KEY_LINE ]] ||
      fail "$file, line $number: not a public key (ssh-ed25519, ssh-rsa or ecdsa) without options before it" 64
    about=$(ssh-keygen -l -f - <<<"$line" 2>/dev/null) || fail "$file, line $number: ssh-keygen does not know this as a key" 64
    [[ $line != ssh-rsa* || ${about%% *} -ge $RSA_BITS ]] ||
      fail "$file, line $number: an RSA key of ${about%% *} bits is too weak; it must have $RSA_BITS or more" 64
    printf 'restrict %s\n' "$line"
    found=1
  done <"$file"
  [[ $found == 1 ]] || fail "$file has no key in it" 64
}

# No password matches "*". Unlike "!" it does not lock the account; sshd would refuse a locked one.
ensure_user() {
  getent passwd "$user" >/dev/null ||
    change "make the user $user (no shell, no password)" \
      useradd --system --gid "$user" --groups "$GROUP" --home-dir / --no-create-home --shell /usr/sbin/nologin --password '*' -- "$user"
}

# ---- sshd ----------------------------------------------------------------------------------------

sshd_rules() {
  cat <<END
# Written by setup_sftp.sh: what the members of $GROUP may do here, which is SFTP in their own folder.
Match Group $GROUP
  ChrootDirectory $root/%u
  ${IN_FORCE//$'\n'/$'\n'  }
  AuthorizedKeysFile $ssh_dir/etl_sftp_keys/%u
  AuthorizedPrincipalsFile none
  GatewayPorts no
  HostbasedAuthentication no
  PermitEmptyPasswords no
  MaxSessions 4
  ClientAliveInterval 60
  ClientAliveCountMax 3
Match all
END
}

# Fails unless sshd accepts its configuration, and uses this client's part as written here.
sshd_agrees() {
  local told line
  # If sshd has not run since the machine started, even its -t needs this directory.
  mkdir -p -- /run/sshd
  sshd -t -f "$ssh_dir/sshd_config" || return 1
  told=$(sshd -T -f "$ssh_dir/sshd_config" -C "user=$user,host=localhost,addr=127.0.0.1") || return 1
  while IFS= read -r line; do
    grep -Fxiq -- "$line" <<<"$told" || {
      printf 'setup_sftp.sh: for %s sshd has not "%s": another Match block comes first; see %s\n' "$user" "$line" "$ssh_dir/sshd_config.d" >&2
      return 1
    }
  done <<<"$IN_FORCE
chrootdirectory $root/%u
authorizedkeysfile $ssh_dir/etl_sftp_keys/%u"
  ! grep -Ei '^(allow|deny)(users|groups) ' <<<"$told" || say "sshd lets in only the users and groups of these lines; check that $GROUP is among them"
}

# Puts the rules in place; removes them if sshd refuses them, before the running sshd has read them.
put_rules() {
  local former
  former=$(mktemp)
  [[ ! -e $rules ]] || cp -p -- "$rules" "$former"
  write_file "$rules" 644
  if sshd_agrees; then
    rm -f -- "$former"
    reload_sshd
    return
  fi
  if [[ -s $former ]]; then mv -T -- "$former" "$rules"; else rm -f -- "$rules" "$former"; fi
  fail "sshd does not accept the rules; $rules is as it was before, and sshd was not touched"
}

reload_sshd() {
  if [[ -d /run/systemd/system ]]; then
    if systemctl is-active --quiet ssh.service; then
      say 'reload sshd'
      systemctl reload ssh.service
      return
    fi
  elif [[ -e /run/sshd.pid ]] && service ssh status >/dev/null 2>&1; then
    say 'reload sshd'
    service ssh reload >/dev/null
    return
  fi
  say 'sshd does not run now; it will have the rules when it starts'
}

ensure_rules() {
  local content
  content=$(sshd_rules)
  if ! has_content "$rules" 644 "$content"; then
    change "write $rules" put_rules <<<"$content"
  elif [[ $dry_run == no ]]; then
    sshd_agrees || fail "sshd does not have the rules for $user"
  fi
}

# ---- the three commands --------------------------------------------------------------------------

sudo_rule() {
  cat <<END
# Written by setup_sftp.sh: the job finds out, as the client's user, which files are complete.
$job_user ALL=($user) NOPASSWD: $lib_dir/sftp_release $folder/incoming
END
}

add_client() {
  local keys
  check_one_root
  keys=$(read_keys "$key_file")
  if getent passwd "$user" >/dev/null && ! in_group "$user" "$GROUP"; then
    fail "the user $user exists already and is not a client of this script"
  fi
  ensure_group "$GROUP"
  ensure_group "$user"
  ensure_user
  ensure_member "$job_user" "$user"
  ensure_directory "$root" root:root 755
  ensure_directory "$folder" root:root 755
  # The client does not own the folder, so it cannot shut the job out.
  ensure_directory "$folder/incoming" "root:$user" 2770
  ensure_directory "$folder/outgoing" "$job_user:$user" 2750
  ensure_directory "$lib_dir" root:root 755
  ensure_file "$lib_dir/sftp_release" 755 "$(<"$ETL_PROJECT/systemscripts/exchange/release.py")"
  ensure_file "$sudoers_dir/etl_$user" 440 "$(sudo_rule)" visudo -c -f
  ensure_directory "$ssh_dir/etl_sftp_keys" root:root 755
  ensure_rules
  # The keys come last, because they make the login possible.
  ensure_file "$ssh_dir/etl_sftp_keys/$user" 644 "$keys"
  next_steps
}

next_steps() {
  [[ $dry_run == no ]] || return 0
  cat <<END

$client can now log in:  sftp $user@$(hostname -f 2>/dev/null || hostname)
keys: $(ssh-keygen -l -f "$ssh_dir/etl_sftp_keys/$user" | cut -d' ' -f2 | paste -sd' ')

What to do next
1. Say where the files go: copy onboarding/sql/samples/add_sftp.sql, set these values, run it with psql.sh --as etl_owner -f:
     config_name            '$client'
     incoming_path          '$folder/incoming'
     outgoing_path          '$folder/outgoing'
     local_repository_path  the source_directory of an import
2. As $job_user, see that it works:  bash jobscripts/run_python_etl_script.sh sftp_exchange.py $client --dry-run
END
}

remove_client() {
  check_one_root
  getent passwd "$user" >/dev/null || [[ -e $ssh_dir/etl_sftp_keys/$user || -e $folder ]] || fail "there is no client $client"
  if getent passwd "$user" >/dev/null && ! in_group "$user" "$GROUP"; then
    fail "the user $user was not made by this script; nothing was done"
  fi
  local file kept
  for file in "$ssh_dir/etl_sftp_keys/$user" "$sudoers_dir/etl_$user"; do
    [[ ! -e $file ]] || change "delete $file" rm -f -- "$file"
  done
  if getent passwd "$user" >/dev/null; then
    change "end the sessions of $user" end_sessions
    change "delete the user $user" userdel -- "$user"
  fi
  if getent group "$user" >/dev/null; then
    change "delete the group $user" groupdel -- "$user"
  fi
  if [[ -d $folder ]]; then
    # They are moved away, so that a later client with this name or user number cannot find them.
    kept=$root/removed/$user.$(date +%Y%m%dT%H%M%S)
    ensure_directory "$root/removed" root:root 700
    change "keep the files of $client in $kept" mv -T -- "$folder" "$kept"
  fi
  say "then end the job's part:  UPDATE dba.texchangeconfig SET is_active = false WHERE incoming_path = '$folder/incoming'"
}

# userdel refuses while a process of the user runs, and a process needs a moment to end.
end_sessions() {
  local tries=50
  while pkill -KILL -u "$user" && ((tries-- > 0)); do sleep 0.1; done
}

list_clients() {
  local members member waiting
  members=$({ getent group "$GROUP" || true; } | cut -d: -f4 | tr ',' '\n' | sort)
  [[ -n $members ]] || say 'there are no clients'
  for member in $members; do
    # A name may have any character but "/" and NUL, so one dot is printed per file and counted.
    waiting='its folder is not there'
    [[ ! -d $root/$member/incoming ]] ||
      waiting="files waiting: $(find "$root/$member/incoming" -mindepth 1 -maxdepth 1 -type f -printf . | wc -c)"
    say "${member#sftp_}: user $member, folder $root/$member, $waiting"
    [[ ! -s $ssh_dir/etl_sftp_keys/$member ]] || ssh-keygen -l -f "$ssh_dir/etl_sftp_keys/$member" | sed 's/^/  key /'
  done
}

main() {
  local command=${1:-}
  [[ $command != -h && $command != --help ]] || usage 0
  [[ -n $command ]] || usage 64 >&2
  [[ $command == add || $command == remove || $command == list ]] || not_understood "$command"
  shift
  job_user=${ETL_CRON_USER:-etl_user}
  ssh_dir=${ETL_SSH_DIR:-/etc/ssh} rules=$ssh_dir/sshd_config.d/etl_sftp.conf sudoers_dir=${ETL_SUDOERS_DIR:-/etc/sudoers.d}
  lib_dir=${ETL_LIB_DIR:-/usr/local/lib/client_etl_workflow}
  root=${ETL_SFTP_ROOT:-$(former_root)} root=${root:-/srv/sftp}
  client='' key_file=''
  while [[ $# -gt 0 ]]; do
    case $1 in
    --dry-run) dry_run=yes ;;
    --key)
      [[ $# -gt 1 && $command == add ]] || not_understood "$1"
      key_file=$2
      shift
      ;;
    *)
      [[ -z $client && $1 =~ ^[a-z][a-z0-9-]{0,20}$ && $command != list ]] ||
        fail "'$1' cannot be a client's name: use small letters, digits and \"-\", at most 21, a letter first" 64
      client=$1
      ;;
    esac
    shift
  done
  [[ $command == list || -n $client ]] || fail "which client? type: setup_sftp.sh $command NAME" 64
  [[ $command != add || -n $key_file ]] || fail "name the file of the client's public key: --key FILE" 64
  user=sftp_$client folder=$root/sftp_$client
  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  check_machine
  case $command in
  add) add_client ;;
  remove) remove_client ;;
  list) list_clients ;;
  esac
}

main "$@"
