# shellcheck shell=bash
# What daily_backup.sh, restore_backup.sh and restore_drill.sh share; env.sh comes first.

umask 077

BACKUP_STAMP='[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]T[0-9][0-9][0-9][0-9][0-9][0-9]'

# Fails without a program, which is in the package of its name or in the one that is given.
needs() {
  command -v "$1" >/dev/null || fail "$1 is not installed; type: sudo apt-get install ${2:-$1}"
}

# Runs one of PostgreSQL's programs as a role: the administrator makes databases, etl_backup only reads.
as_role() {
  local role=$1
  shift
  "$ETL_VENV/bin/python" -P -m systemscripts.db_config run --as "$role" "$@"
}

postgres() { as_role postgres "$@"; }

# Lists the folders of finished backups, the newest first: their names sort by time.
backup_folders() {
  local folder
  find "${ETL_BACKUP_DIR:?}" -mindepth 1 -maxdepth 1 -type d -name "$BACKUP_STAMP" | LC_ALL=C sort -r |
    while IFS= read -r folder; do
      # Whatever else may have such a name is not ours to delete.
      if [[ -f $folder/SHA256SUMS ]]; then printf '%s\n' "$folder"; fi
    done
}

# Says whether the folder's files are what they were when the backup was made.
check_sums() {
  local folder=$1
  [[ -f $folder/SHA256SUMS ]] || fail "$folder has no SHA256SUMS: it is no backup of ours"
  (cd -- "$folder" && sha256sum --check --quiet --strict SHA256SUMS >&2) || fail "$folder is damaged: its checksums do not fit"
}

# Writes a file of the backup to standard output, decrypted where it was encrypted.
content() {
  local file=$1
  if [[ -f $file.age ]]; then
    needs age
    [[ -n ${ETL_BACKUP_AGE_IDENTITY:-} ]] || fail "$file.age is encrypted; name the file of the private key in ETL_BACKUP_AGE_IDENTITY"
    age --decrypt --identity "$ETL_BACKUP_AGE_IDENTITY" "$file.age"
  else
    cat -- "$file"
  fi
}

# Lists the databases in a backup.
databases_in() {
  local manifest
  for manifest in "$1"/*.manifest; do
    [[ -e $manifest ]] && basename -- "$manifest" .manifest
  done
}

# Makes the roles of the backup that are not there; what else globals.sql says is applied to those alone.
restore_roles() {
  local folder=$1 globals role
  local -a made=()
  globals=$(content "$folder/globals.sql") || fail "the roles of $folder cannot be read"
  while IFS= read -r role; do
    if postgres psql -X -q -d postgres -c "CREATE ROLE $role" 2>/dev/null; then
      made+=("$role")
    fi
  done < <(sed -n 's/^CREATE ROLE \(.*\);$/\1/p' <<<"$globals")
  for role in "${made[@]}"; do
    # Its attributes, settings and memberships; what an older server does not know is told, and left out.
    awk -v role="$role" 'index($0, "ALTER ROLE " role " ") == 1 ||
      (/^GRANT / && (index($0, " TO " role " ") || index($0, " TO " role ";"))) { sub(/ GRANTED BY [^;]*;$/, ";"); print }' <<<"$globals" |
      postgres psql -X -q -v ON_ERROR_STOP=0 -d postgres
    printf 'role %s: made\n' "$role"
  done
}

# Restores one database of a backup into a new one, and compares it with the manifest.
restore_into() {
  local folder=$1 database=$2 target=$3
  postgres createdb --template=template0 -- "$target" || return
  if ! content "$folder/$database.dump" | postgres pg_restore --file=- | for_older_servers |
    postgres psql -X -q -v ON_ERROR_STOP=1 --no-password --dbname="$target" >/dev/null; then
    # Half a database is none.
    postgres dropdb -- "$target"
    return 1
  fi
  "$ETL_VENV/bin/python" -P -m systemscripts.database_dump compare "$folder/$database.manifest" "$target"
}

# Takes out, once and so not in the data, the setting that pg_restore 17 and later begins with, and that servers before 17 refuse.
for_older_servers() { LC_ALL=C sed '0,/^SET transaction_timeout = 0;$/{//d}'; }
