#!/usr/bin/env bash
# Usage: install_dependencies.sh [--cloud] [--dry-run]
#
# Installs what the jobs need: cron, Git, Python with the packages of requirements.txt (in venv/), and PostgreSQL from
# the system's packages. The jobs' user and you may then log in there without a password (by peer, over the socket).
# With --cloud also rclone, in venv/, for files in clouds.
# Run it as root, after configure_etl_user.sh. Run again, it changes only what differs. Debian 12, Ubuntu 24.04, Mint 22.
#
# Afterwards site.env names the server of the jobs. To use a server on another machine, name it at the first call; then
# nothing of PostgreSQL is installed or changed here.
#
# Examples:
#   sudo bash onboarding/sh/install_dependencies.sh --dry-run
#   sudo bash onboarding/sh/install_dependencies.sh
#   sudo bash onboarding/sh/install_dependencies.sh --cloud
#   sudo PGHOST=db.example.com PGDATABASE=feeds bash onboarding/sh/install_dependencies.sh
set -euo pipefail
umask 022

# shellcheck source=onboarding/sh/changes.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/changes.sh"

readonly GROUP=etl_group
readonly LEAST_POSTGRESQL=15
readonly SOCKET_DIR=/var/run/postgresql
readonly SERVER_VARIABLES='PGHOST PGHOSTADDR PGPORT PGDATABASE PGSERVICE'
readonly TRIED='debian:12 ubuntu:24.04 linuxmint:22'
readonly MAP=client_etl_workflow

check_machine() {
  need_root
  command -v apt-get >/dev/null || fail 'there is no apt-get: this is for Debian, Ubuntu and Linux Mint'
  local system
  # shellcheck source=/dev/null
  system=$(source /etc/os-release && printf '%s:%s' "${ID:-?}" "${VERSION_ID:-?}")
  [[ " $TRIED " == *" $system "* || ($system == linuxmint:22.* && " $TRIED " == *linuxmint:22*) ]] ||
    say "warning: this is $system; the script was tried only on ${TRIED// /, }"
  getent passwd "$job_user" >/dev/null && getent group "$GROUP" >/dev/null ||
    [[ $dry_run == yes ]] || fail "there is no user $job_user yet; type: sudo bash onboarding/sh/configure_etl_user.sh"
  [[ $owner =~ ^[A-Za-z0-9._-]+$ ]] || fail "the checkout's owner is '$owner'; PostgreSQL's rules need a plain name (letters, digits, . _ -)"
}

# ---- Python --------------------------------------------------------------------------------------

# The packages belong to the checkout's owner, like the programs, because a job must not be able to change them.
make_venv() {
  local home
  home=$(getent passwd "$owner" | cut -d: -f6)
  (cd / && HOME=$home as_user "$owner" bash "$ETL_PROJECT/onboarding/sh/make_venv.sh" "$@")
}

as_user() {
  local user=$1
  shift
  if [[ $user == root ]]; then "$@"; else runuser -u "$user" -- "$@"; fi
}

ensure_venv() {
  if [[ $dry_run == yes ]]; then
    say "would install the packages of requirements.txt${*:+ and requirements-cloud.txt} in $ETL_VENV"
  else
    make_venv "$@"
  fi
  [[ $dry_run == yes ]] || (cd / && as_user "$job_user" "$ETL_VENV/bin/python" -P -c 'import systemscripts.runs.door, psycopg2') ||
    fail "$job_user cannot use $ETL_VENV; type: sudo bash onboarding/sh/configure_etl_user.sh, and check who may read $ETL_VENV"
}

# ---- PostgreSQL ----------------------------------------------------------------------------------

# Returns whether the jobs' server is on this machine, which is the default.
server_is_here() { [[ -z ${PGSERVICE:-}${PGHOSTADDR:-} && (-z ${PGHOST:-} || $PGHOST == /*) ]]; }

# Sets version, cluster and port to those of the jobs' server, and starts it; returns 1 if there is no server yet.
find_cluster() {
  local line status rest
  local -a lines=()
  command -v pg_lsclusters >/dev/null || return 1
  mapfile -t lines < <(pg_lsclusters --no-header)
  [[ ${#lines[@]} -gt 0 ]] || return 1
  for line in "${lines[@]}"; do
    # shellcheck disable=SC2034 # rest takes what is not needed
    read -r version cluster port status rest <<<"$line"
    [[ $port == "${PGPORT:-5432}" || (${#lines[@]} -eq 1 && -z ${PGPORT:-}) ]] && break
    version=''
  done
  [[ -n $version ]] ||
    fail "no PostgreSQL server here has the port ${PGPORT:-5432} (see pg_lsclusters); name the right port: sudo PGPORT=… bash onboarding/sh/install_dependencies.sh"
  [[ ${version%%.*} -ge $LEAST_POSTGRESQL ]] || fail "PostgreSQL here is $version; $LEAST_POSTGRESQL or later is needed"
  [[ $status == online* ]] || change "start PostgreSQL $version" pg_ctlcluster "$version" "$cluster" start
  [[ $status == online* || $dry_run == no ]]
}

as_postgres() {
  (cd / && env -u PGHOST -u PGSERVICE -u PGDATABASE -u PGUSER runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -h "$SOCKET_DIR" -p "$port" -d postgres "$@")
}

login_rules() {
  local roles=etl_user,etl_report,etl_owner,etl_backup
  [[ $postgres_is_ours == no ]] || roles+=,postgres
  cat <<END
# BEGIN $MAP: which user of this machine may log in as which of these roles is in pg_ident.conf
local  all  $roles  peer  map=$MAP
# END $MAP
END
}

# Lists the others who may log in besides the jobs' user: root, and the people who look after the jobs.
operators() {
  {
    printf '%s\n' root postgres "$owner"
    getent group "$GROUP" | cut -d: -f4 | tr ',' '\n' | grep -Fxv -- "$job_user"
  } | grep . | sort -u
}

user_map() {
  local user role
  printf '# BEGIN %s\n' "$MAP"
  for role in etl_user etl_report etl_backup; do
    printf '%s  "%s"  %s\n' "$MAP" "$job_user" "$role"
  done
  for user in $(operators); do
    for role in etl_user etl_report etl_backup etl_owner; do
      printf '%s  "%s"  %s\n' "$MAP" "$user" "$role"
    done
    [[ $user != root && $user != postgres ]] || printf '%s  "%s"  postgres\n' "$MAP" "$user"
  done
  printf '# END %s\n' "$MAP"
}

# If one of its two marks is missing, the end of our part of a file is unknown.
check_our_part() {
  [[ $(grep -c "^# BEGIN $MAP" "$1") == $(grep -c "^# END $MAP" "$1") ]] ||
    fail "$1 has only one of the lines \"# BEGIN $MAP\" and \"# END $MAP\": nothing was changed; delete our lines by hand, and run this again"
}

# Prints a file of PostgreSQL without our part of it.
without_ours() {
  awk -v mark="$MAP" '$0 ~ "^# BEGIN " mark { skip = 1 } !skip { print } $0 == "# END " mark { skip = 0 }' "$1"
}

# Overwrites a file with standard input, and keeps the file's rights.
replace() {
  local new
  new=$(mktemp -- "$1.XXXXXX")
  cat >"$new"
  chown --reference="$1" -- "$new"
  chmod --reference="$1" -- "$new"
  mv -T -- "$new" "$1"
}

# Puts both files in place; restores them if PostgreSQL does not accept them.
put_rules() {
  local hba=$1 ident=$2 former wrong
  former=$(mktemp -d)
  cp -p -- "$hba" "$former/hba"
  cp -p -- "$ident" "$former/ident"
  # The first rule that fits counts, so ours come first.
  { login_rules && without_ours "$former/hba"; } >"$former/new_hba"
  { without_ours "$former/ident" && user_map; } >"$former/new_ident"
  replace "$hba" <"$former/new_hba"
  replace "$ident" <"$former/new_ident"
  wrong=$(as_postgres -c "SELECT error FROM pg_hba_file_rules WHERE error IS NOT NULL
                          UNION ALL SELECT error FROM pg_ident_file_mappings WHERE error IS NOT NULL") || wrong=${wrong:-it does not answer}
  if [[ -n $wrong ]]; then
    replace "$hba" <"$former/hba"
    replace "$ident" <"$former/ident"
    rm -rf -- "$former"
    fail "PostgreSQL does not accept the rules ($wrong); $hba and $ident are as they were"
  fi
  rm -rf -- "$former"
}

ensure_login() {
  local files hba ident
  files=$(as_postgres -c 'SHOW hba_file' -c 'SHOW ident_file') ||
    fail "PostgreSQL $version refuses its own administrator over the socket, so the logins cannot be set up; check pg_hba.conf: local all postgres peer"
  hba=$(readlink -f -- "${files%%$'\n'*}") ident=$(readlink -f -- "${files#*$'\n'}")
  check_our_part "$hba"
  check_our_part "$ident"
  # An earlier rule would hide the administrator's own rule for this role.
  if without_ours "$hba" | grep -Eq '^[[:space:]]*local[[:space:]]+[^[:space:]]+[[:space:]]+"?postgres"?[[:space:]]+peer[[:space:]]+map='; then
    postgres_is_ours=no
    say "$hba has its own map for postgres, which is kept: for sql_setupscripts.sh, add root to that map"
  fi
  if [[ $(sed -n "/^# BEGIN $MAP/,/^# END $MAP/p" "$hba") != "$(login_rules)" || $(sed -n "/^# BEGIN $MAP/,/^# END $MAP/p" "$ident") != "$(user_map)" ]]; then
    change "let $job_user, $(operators | paste -sd' ') log in as the jobs' roles ($hba, $ident)" put_rules "$hba" "$ident"
  fi
  # This is also done if an earlier call stopped before it.
  [[ $dry_run == yes ]] || as_postgres -c 'SELECT pg_reload_conf()' >/dev/null
}

# ---- which server --------------------------------------------------------------------------------

append_site() {
  [[ ! -s $ETL_SITE_FILE || -z $(tail -c 1 -- "$ETL_SITE_FILE") ]] || printf '\n' >>"$ETL_SITE_FILE"
  cat >>"$ETL_SITE_FILE"
  chown -- "$owner:" "$ETL_SITE_FILE"
  chmod -- 644 "$ETL_SITE_FILE"
}

# Prints the value of a variable in site.env.
noted() { sed -n "s/^\(export \)\{0,1\}$1=//p" "$ETL_SITE_FILE" 2>/dev/null | tail -n 1; }

# A different server would be used only by this call, not by all others.
check_site() {
  local name
  for name in $SERVER_VARIABLES; do
    [[ -z $(noted PGHOST)$(noted PGDATABASE)$(noted PGSERVICE) || ${!name:-} == "$(noted "$name")" ]] ||
      fail "$name is '${!name:-}' here, and '$(noted "$name")' in $ETL_SITE_FILE, which names the jobs' database; change it there, and run this again" 64
  done
}

# Writes the server to site.env for all users of this installation, unless it stands there already.
ensure_site() {
  local name more=''
  for name in $SERVER_VARIABLES; do
    [[ -z ${!name:-} || -n $(noted "$name") ]] || more+="$name=${!name}"$'\n'
  done
  if server_is_here; then
    [[ -n ${PGHOST:-} ]] || more+="PGHOST=$SOCKET_DIR"$'\n'
    [[ -n ${PGPORT:-} || ${port:-5432} == 5432 ]] || more+="PGPORT=$port"$'\n'
  fi
  [[ -n ${PGDATABASE:-}${PGSERVICE:-} ]] || more+=$'PGDATABASE=feeds\n'
  [[ -z $more ]] || change "note the server in $ETL_SITE_FILE: ${more//$'\n'/ }" append_site <<<"${more%$'\n'}"
}

main() {
  local -a extras=()
  if [[ ${1:-} == --cloud ]]; then
    extras=(--cloud)
    shift
  fi
  dry_run_or_help "$@"
  job_user=${ETL_CRON_USER:-etl_user}
  owner=$(stat -c %U -- "$ETL_PROJECT") version='' cluster='' port='' postgres_is_ours=yes
  check_machine
  check_site
  ensure_packages cron git python3 python3-venv ca-certificates
  ensure_venv "${extras[@]}"
  if server_is_here; then
    ensure_packages postgresql
    if find_cluster; then
      ensure_login
    else
      [[ $dry_run == yes ]] || fail 'PostgreSQL is installed but has no cluster; type: sudo pg_createcluster 15 main --start (or its version here)'
      say "would let $job_user and those of $GROUP log in as the jobs' roles"
    fi
  else
    say "the server is ${PGHOST:-${PGHOSTADDR:-that of the service $PGSERVICE}}: nothing of PostgreSQL is installed or changed here"
  fi
  ensure_site
  all_done
  [[ $dry_run == yes ]] || printf '\nWhat to do next\n   sudo bash onboarding/sh/sql_setupscripts.sh\n'
}

main "$@"
