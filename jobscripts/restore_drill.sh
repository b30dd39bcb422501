#!/usr/bin/env bash
# Test that the newest backup can be restored: restore it into a temporary server and compare it with its manifest.
#
# Usage: restore_drill.sh [FOLDER]
#
# It checks the checksums and makes an empty private server below the backups, which only this job can reach. There it
# restores the roles and every database of the backup (or of FOLDER), and compares rows and content of each table. It
# writes a row to dba.tmaintenancelog and removes the server. The server in use is not touched, and no administrator
# rights are needed. The private server has the version of the backup if that is installed here, else PostgreSQL 18 (or
# that of ETL_PG_BINDIR). An encrypted backup needs ETL_BACKUP_AGE_IDENTITY, the file of the private key.
set -euo pipefail

# shellcheck source=env.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../env.sh"
through_the_door "$@"
# shellcheck source=systemscripts/backups/backup.sh
source "$ETL_PROJECT/systemscripts/backups/backup.sh"

# Leaves the configured server: from here on all PostgreSQL programs use the private server.
point_at_private_server() {
  unset PGHOSTADDR PGPORT PGSERVICE PGDATABASE PGUSER PGPASSFILE PGSSLMODE
  export PGHOST=$socket_dir
}

# Runs a program of the PostgreSQL server, in the version of the backup if that is installed.
of_the_server() {
  local name=$1
  shift
  if [[ -x /usr/lib/postgresql/$major/bin/$name ]]; then "/usr/lib/postgresql/$major/bin/$name" "$@"; else postgres "$name" "$@"; fi
}

# Prints the PostgreSQL version of the backup; nothing if its dumps do not say it.
version_of() {
  local stem
  stem=$(databases_in "$1" | sed -n 1p)
  content "$1/$stem.dump" | as_role etl_backup pg_restore --list 2>/dev/null |
    sed -n 's/^; *Dumped from database version: \([0-9]*\).*/\1/p' || true
}

# Nothing of the server is kept, so nothing must reach the disk.
start_private_server() {
  of_the_server initdb --pgdata="$scratch/data" --username=postgres --auth=peer --encoding=UTF8 --locale=C.UTF-8 --no-sync \
    --no-instructions >"$scratch/log" 2>&1 || no_server
  printf 'local all all peer map=drill\n' >"$scratch/data/pg_hba.conf"
  printf 'drill "%s" %s\n' "$(id -un)" postgres "$(id -un)" etl_user >"$scratch/data/pg_ident.conf"
  of_the_server pg_ctl start --pgdata="$scratch/data" --wait --silent --log="$scratch/log" \
    --options="-c listen_addresses='' -c unix_socket_directories='$socket_dir' -c fsync=off -c full_page_writes=off" 9>&- || no_server
}

no_server() { fail "no private server can be made for the drill: $(tail -n 2 "$scratch/log")"; }

works_in() { [[ $1 =~ ^[0-9]+$ && "/proc/$1/cwd" -ef $2 ]]; }

# Stops the server in a scratch directory, if it runs, and removes both; also those of a drill that was killed.
remove_scratch() {
  local directory=$1 process tries=100
  # A server works in its data directory; anything else that has this number now is a stranger.
  if process=$(head -n 1 "$directory/data/postmaster.pid" 2>/dev/null) && works_in "$process" "$directory/data"; then
    kill -QUIT "$process" 2>/dev/null || true
    while works_in "$process" "$directory/data" && ((tries-- > 0)); do sleep 0.1; done
  fi
  rm -rf -- "$directory"
}

note() {
  local details=$1 seconds=$2
  as_role etl_user psql -X -q -v ON_ERROR_STOP=1 -v details="$details" -v seconds="$seconds" <<'SQL' ||
INSERT INTO dba.tmaintenancelog (operation, username, durationseconds, details)
VALUES ('RESTORE DRILL', session_user, :'seconds', :'details');
SQL
    fail 'the drill cannot be noted in dba.tmaintenancelog'
}

# Restores everything into the private server, and names on file descriptor 3 what differs from the backup.
restore_all() {
  local folder=$1 stem number=0 major
  major=$(version_of "$folder")
  point_at_private_server
  start_private_server
  globals "$folder" roles >&2
  while IFS= read -r stem; do
    number=$((number + 1))
    if restore_into "$folder" "$stem" "drill_$number"; then
      say "$stem restores: $(wc -l <"$folder/$stem.manifest") tables"
    else
      printf '%s\n' "$stem" >&3
    fi
  done < <(databases_in "$folder")
}

main() {
  [[ $# -le 1 ]] || fail "it takes one folder at most; there was: $*" 64
  local folder=${1:-} left bad
  [[ -x $ETL_BACKUP_DIR && -r $ETL_BACKUP_DIR ]] ||
    fail "$ETL_BACKUP_DIR does not exist, or you may not see it: start the drill as the jobs' user"
  if [[ -z $folder ]]; then
    folder=$(backup_folders | sed -n 1p)
    [[ -n $folder ]] || fail "there is no backup in $ETL_BACKUP_DIR; type: bash jobscripts/run_python_etl_script.sh daily_backup.sh"
  fi
  [[ $(id -u) -ne 0 ]] || fail 'PostgreSQL does not run as root: start the drill as the jobs'"'"' user' 64
  folder=$(realpath -- "$folder")
  check_sums "$folder"
  check_key "$folder"
  [[ -n $(databases_in "$folder") ]] || fail "$folder has no manifest: it was made by an older version"

  exec 9<"$ETL_BACKUP_DIR"
  flock -n 9 || fail 'another drill runs' 75
  for left in "$ETL_BACKUP_DIR"/.drill.*; do
    [[ ! -e $left ]] || remove_scratch "$left"
  done
  scratch=$(mktemp -d "$ETL_BACKUP_DIR/.drill.XXXXXX")
  # A path of a socket may have 107 bytes.
  socket_dir=$(mktemp -d /tmp/etl_drill.XXXXXX)
  trap 'remove_scratch "$scratch"; rm -rf -- "$socket_dir"' EXIT

  (restore_all "$folder") 3>"$scratch/bad"
  bad=$(paste -sd' ' "$scratch/bad")
  if [[ -n $bad ]]; then
    note "$folder: does not restore: $bad" "$SECONDS"
    fail "$folder does not restore as it was: $bad; keep older backups, and make a new one"
  fi
  note "$folder: restored and equal" "$SECONDS"
}

main "$@"
