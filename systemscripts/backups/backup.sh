# shellcheck shell=bash
# The functions that daily_backup.sh, restore_backup.sh and restore_drill.sh share; source env.sh first.

umask 077

BACKUP_STAMP='[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]T[0-9][0-9][0-9][0-9][0-9][0-9]'

# Fails if a program is missing; its package has the same name, or the given one.
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

# Lists the folders of finished backups, the newest first: their names sort by time. A folder from the future is left out,
# because a wrong clock made it and it would always be the newest (doctor.py names it). An hour may come twice in a day.
backup_folders() {
  local folder latest
  latest=$(date -d '+1 day' +%Y%m%dT%H%M%S)
  # The slash goes through a link to where the backups are.
  find "${ETL_BACKUP_DIR:?}/" -mindepth 1 -maxdepth 1 -type d -name "$BACKUP_STAMP" | LC_ALL=C sort -r |
    while IFS= read -r folder; do
      # Whatever else may have such a name is not ours to delete.
      if [[ -f $folder/SHA256SUMS && ! ${folder##*/} > $latest ]]; then printf '%s\n' "$folder"; fi
    done
}

# Returns whether the folder's files are unchanged since the backup.
check_sums() {
  local folder=$1
  [[ -f $folder/SHA256SUMS ]] || fail "$folder has no SHA256SUMS: it is no backup of ours"
  (cd -- "$folder" && sha256sum --check --quiet --strict SHA256SUMS >&2) || fail "$folder is damaged: its checksums do not fit"
  [[ -f $folder/globals.json || -f $folder/globals.json.age ]] ||
    fail "$folder has no globals.json: it was made by an older version; use psql for its globals.sql, and pg_restore"
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

# Says, before anything is made, that an encrypted backup cannot be read with the key there is.
check_key() {
  content "$1/globals.json" >/dev/null ||
    fail "$1 cannot be read with the key in ETL_BACKUP_AGE_IDENTITY (above), and nothing was made; name the private key that belongs to the ETL_BACKUP_AGE_RECIPIENT of then"
}

# Lists the databases in a backup, each as the first part of its files' names.
databases_in() {
  local manifest
  for manifest in "$1"/*.manifest; do
    [[ -e $manifest ]] && basename -- "$manifest" .manifest
  done
}

# Has the backup's account of its server done: roles, create STEM TARGET, settle STEM TARGET.
globals() {
  local folder=$1
  shift
  content "$folder/globals.json" | "$ETL_VENV/bin/python" -P -m systemscripts.backups.globals "$@"
}

# Restores one database of a backup into a new one, and compares it with the manifest. Returns 1 where it cannot be
# restored, and nothing is left of it; 2 where it is there and not what the backup says.
restore_into() {
  local folder=$1 stem=$2 target=$3 named status=0
  named=${target//\\/\\\\} named="dbname='${named//\'/\\\'}'"
  globals "$folder" create "$stem" "$target" || return 1
  restore_steps || status=$?
  if [[ $status == 1 ]]; then
    postgres dropdb -- "$target"
    return 1
  fi
  globals "$folder" settle "$stem" "$target" || status=2
  "$ETL_VENV/bin/python" -P -m systemscripts.backups.dump compare "$folder/$stem.manifest" "$target" || status=2
  return "$status"
}

# Restores what belongs to the jobs' role as that role, and the rest as the administrator; see restore_plan.py.
restore_steps() {
  local plan list status=0
  plan=$(mktemp -d)
  content "$folder/$stem.dump" | to_its_end postgres pg_restore --list --verbose |
    "$ETL_VENV/bin/python" -P -m systemscripts.backups.restore_plan "$plan" <(content "$folder/globals.json") || status=$?
  [[ $status == 0 || $status == 2 ]] || status=1
  for list in "$plan"/*; do
    if [[ $status == 1 ]] || restore_step "$list"; then
      continue
    elif [[ $list == */0000.postgres ]]; then
      status=1
    else
      printf '%s: not all that belongs to the jobs, or needs it, can be restored (above)\n' "$stem" >&2
      status=2
    fi
  done
  rm -rf -- "$plan"
  return "$status"
}

# etl.setup: what a restore does is no entry of the DDL log that it restores.
restore_step() {
  local list=$1 role=${1##*.}
  content "$folder/$stem.dump" | to_its_end postgres pg_restore --use-list="$list" --file=- | for_older_servers |
    PGUSER=$(user_for "$role") PGOPTIONS='-c etl.setup=on -c default_transaction_read_only=off' as_role "$role" \
      psql -X -q -v ON_ERROR_STOP=1 --no-password --dbname="$named" >/dev/null
}

# Reads what the program has no need of too: what writes it would fail where nobody listens.
to_its_end() { "$@" && cat >/dev/null; }

# An administrator's own name for himself is none for the jobs' role.
user_for() { if [[ $1 == postgres ]]; then printf '%s' "${PGUSER:-}"; else printf '%s' "${PGUSER:+$1}"; fi; }

# Takes out, once and so not in the data, the setting that pg_restore 17 and later begins with, and that servers before 17 refuse.
for_older_servers() { LC_ALL=C sed '0,/^SET transaction_timeout = 0;$/{//d}'; }
