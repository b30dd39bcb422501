#!/usr/bin/env bash
# Restore databases, and the roles, from a backup: into what is not there yet, never over what is.
#
# Usage: restore_backup.sh FOLDER [DATABASE [NEW_NAME]] [--dry-run]
#
# Without DATABASE all of the backup is restored. A database that is there is refused: rename it first, or give a
# NEW_NAME. Roles that are missing are made as they were; those that are there stay as they are. What was restored is
# compared with the manifest. An encrypted backup needs ETL_BACKUP_AGE_IDENTITY, the file of the private key.
#
# Examples:
#   restore_backup.sh backups/20260302T030000 --dry-run
#   restore_backup.sh backups/20260302T030000 feeds feeds_of_monday
#   restore_backup.sh /mnt/disk/backups/20260302T030000            on a new box, into an empty server
set -euo pipefail

# shellcheck source=env.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../../env.sh"
# shellcheck source=systemscripts/backup.sh
source "$ETL_PROJECT/systemscripts/backup.sh"

exists() {
  local found
  found=$(postgres psql -X -d postgres -At -v name="$1" <<<"SELECT count(*) FROM pg_database WHERE datname = :'name'") ||
    fail 'the server cannot be asked which databases it has'
  [[ $found != 0 ]]
}

main() {
  local dry_run=no argument words=()
  for argument in "$@"; do
    case $argument in
    --dry-run) dry_run=yes ;;
    -h | --help) usage 0 ;;
    *) words+=("$argument") ;;
    esac
  done
  [[ ${#words[@]} -ge 1 && ${#words[@]} -le 3 ]] || fail "name the folder of a backup, as in restore_backup.sh backups/20260302T030000; there was: $*" 64
  local folder=${words[0]} database target
  [[ -d $folder ]] || fail "there is no folder $folder" 64
  check_sums "$folder"
  local -a databases=()
  mapfile -t databases < <(databases_in "$folder")
  if [[ ${#words[@]} -ge 2 ]]; then
    [[ -f $folder/${words[1]}.manifest ]] || fail "$folder has no database ${words[1]}; it has: ${databases[*]}" 64
    databases=("${words[1]}")
  fi
  [[ ${#databases[@]} -gt 0 ]] || fail "$folder has no manifest: it was made by an older version"

  local -a wanted=()
  for database in "${databases[@]}"; do
    target=${words[2]:-$database}
    if [[ $target == postgres ]]; then
      printf 'database postgres: left as it is on every server\n'
    elif exists "$target"; then
      fail "there is a database $target, which is not overwritten; rename it first (ALTER DATABASE … RENAME TO …), or give a new name"
    else
      wanted+=("$database")
    fi
  done
  if [[ $dry_run == yes ]]; then
    printf 'would make the roles that are missing, and restore %s\n' "${wanted[*]}"
    return
  fi
  restore_roles "$folder"
  for database in "${wanted[@]}"; do
    target=${words[2]:-$database}
    restore_into "$folder" "$database" "$target" || fail "$database did not restore into $target as it was; what is there is not to be used"
    printf 'database %s: restored, and equal to the backup\n' "$target"
  done
}

main "$@"
