#!/usr/bin/env bash
# Prove that the newest backup restores: into scratch databases, compared with its manifest, and gone again.
#
# Usage: restore_drill.sh [FOLDER]
#
# Checks the checksums, restores every database of the backup (or of FOLDER) as etl_drill_<time>_<name>, compares rows
# and content of each table, and leaves a row in dba.tmaintenancelog. Nothing that is there is touched. An encrypted
# backup needs ETL_BACKUP_AGE_IDENTITY, the file of the private key.
set -euo pipefail

# shellcheck source=env.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../env.sh"
through_the_door "$@"
# shellcheck source=systemscripts/backup.sh
source "$ETL_PROJECT/systemscripts/backup.sh"

scratch=()

drop_scratch() {
  local database
  for database in "${scratch[@]}"; do
    postgres dropdb --if-exists --force -- "$database" || printf 'restore_drill.sh: %s is left behind; drop it\n' "$database" >&2
  done
}

note() {
  local details=$1 seconds=$2
  postgres psql -X -q -v ON_ERROR_STOP=1 -v details="$details" -v seconds="$seconds" <<'SQL' ||
INSERT INTO dba.tmaintenancelog (operation, username, durationseconds, details)
VALUES ('RESTORE DRILL', session_user, :'seconds', :'details');
SQL
    fail 'the drill cannot be noted in dba.tmaintenancelog'
}

main() {
  [[ $# -le 1 ]] || fail "it takes one folder at most; there was: $*" 64
  local folder=${1:-} database target bad=()
  if [[ -z $folder ]]; then
    folder=$(backup_folders | sed -n 1p)
    [[ -n $folder ]] || fail "there is no backup in $ETL_BACKUP_DIR; type: bash jobscripts/run_python_etl_script.sh daily_backup.sh"
  fi
  check_sums "$folder"
  trap drop_scratch EXIT
  while IFS= read -r database; do
    target=etl_drill_$(date +%Y%m%d%H%M%S)_$database
    target=${target:0:63}
    scratch+=("$target")
    if restore_into "$folder" "$database" "$target"; then
      printf '%s restores: %s tables\n' "$database" "$(wc -l <"$folder/$database.manifest")"
    else
      bad+=("$database")
    fi
  done < <(databases_in "$folder")
  [[ ${#scratch[@]} -gt 0 ]] || fail "$folder has no manifest: it was made by an older version"
  if [[ ${#bad[@]} -gt 0 ]]; then
    note "$folder: does not restore: ${bad[*]}" "$SECONDS"
    fail "$folder does not restore as it was: ${bad[*]}; keep older backups, and make a new one"
  fi
  note "$folder: restored and equal" "$SECONDS"
}

main "$@"
