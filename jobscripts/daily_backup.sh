#!/usr/bin/env bash
# Back up every database, and the roles, into a folder that appears only when all of it is good.
#
# Usage: daily_backup.sh
#
# Writes backups/<yyyyMMddTHHmmss>/ with <database>.dump (custom format), globals.sql and
# SHA256SUMS. A dump must end without error and be readable by pg_restore before the folder gets
# its name; older folders (ETL_BACKUP_KEEP_DAYS, default 30, but never the newest
# ETL_BACKUP_KEEP_COUNT, default 7) are deleted only after that.
set -euo pipefail

# shellcheck source=env.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../env.sh"
through_the_door "$@"
umask 077

STAMP='[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]T[0-9][0-9][0-9][0-9][0-9][0-9]'

fail() {
  printf 'daily_backup.sh: %s\n' "$1" >&2
  exit "${2:-1}"
}

postgres() {
  "$ETL_VENV/bin/python" -P -m systemscripts.db_config run --as postgres "$@"
}

# Dumps one database and proves that the dump can be read.
dump_database() {
  local database=$1 folder=$2
  postgres pg_dump --format=custom --file="$folder/$database.dump" --dbname="$database" ||
    fail "pg_dump of $database failed; nothing was kept"
  postgres pg_restore --list "$folder/$database.dump" >"$folder/$database.list" ||
    fail "the dump of $database cannot be read; nothing was kept"
  rm -f -- "$folder/$database.list"
}

# Deletes our own older folders by age, keeping the newest ones whatever their age.
purge() {
  local folder
  local -a ours=()
  # Newest first: the names sort by time.
  while IFS= read -r folder; do
    ours+=("$folder")
  done < <(find "${ETL_BACKUP_DIR:?}" -mindepth 1 -maxdepth 1 -type d -name "$STAMP" | LC_ALL=C sort -r)
  for folder in "${ours[@]:${ETL_BACKUP_KEEP_COUNT:-7}}"; do
    if [[ -n $(find "$folder" -maxdepth 0 -mmin "+$((${ETL_BACKUP_KEEP_DAYS:-30} * 1440))") ]]; then
      rm -rf -- "$folder"
      printf 'deleted %s\n' "$folder"
    fi
  done
}

main() {
  [[ $# -eq 0 ]] || fail "it takes no arguments; there was: $*" 64
  local number
  for number in "${ETL_BACKUP_KEEP_COUNT:-7}" "${ETL_BACKUP_KEEP_DAYS:-30}"; do
    [[ $number =~ ^[1-9][0-9]{0,3}$ ]] || fail "ETL_BACKUP_KEEP_COUNT and ETL_BACKUP_KEEP_DAYS must be whole numbers from 1; there was: $number" 64
  done
  mkdir -p -- "$ETL_BACKUP_DIR"
  local stamp database databases
  stamp=$(date +%Y%m%dT%H%M%S)
  building=$ETL_BACKUP_DIR/$stamp.part
  mkdir -- "$building"
  trap 'rm -rf -- "$building"' EXIT

  databases=$(postgres psql -X -d postgres -Atc "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1") ||
    fail 'the list of databases cannot be had'
  while IFS= read -r database; do
    dump_database "$database" "$building"
  done <<<"$databases"
  postgres pg_dumpall --globals-only --file="$building/globals.sql" || fail 'pg_dumpall of the roles failed; nothing was kept'
  (cd -- "$building" && sha256sum -- *.dump globals.sql >SHA256SUMS && sync -- *)

  mv -T -- "$building" "$ETL_BACKUP_DIR/$stamp"
  trap - EXIT
  printf 'backed up %s into %s\n' "${databases//$'\n'/, }" "$ETL_BACKUP_DIR/$stamp"
  purge
}

main "$@"
