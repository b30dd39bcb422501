#!/usr/bin/env bash
# Restore databases and roles from a backup. Existing databases and roles are never overwritten.
#
# Usage: restore_backup.sh FOLDER [DATABASE [NEW_NAME]] [--dry-run]
#
# Without DATABASE the whole backup is restored. If a database exists already, rename it first, or give a NEW_NAME.
# Missing roles are made as they were; existing roles stay unchanged. The result is compared with the manifest. An
# encrypted backup needs ETL_BACKUP_AGE_IDENTITY, the file of the private key.
#
# Examples:
#   restore_backup.sh backups/20260302T030000 --dry-run
#   restore_backup.sh backups/20260302T030000 feeds feeds_of_monday
#   restore_backup.sh /mnt/disk/backups/20260302T030000            on a new box, into an empty server
set -euo pipefail

# shellcheck source=env.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../../env.sh"
# shellcheck source=systemscripts/backups/backup.sh
source "$ETL_PROJECT/systemscripts/backups/backup.sh"

exists() {
  local found
  found=$(postgres psql -X -d postgres -At -v name="$1" <<<"SELECT count(*) FROM pg_database WHERE datname = :'name'") ||
    fail 'the list of databases cannot be read from the server'
  [[ $found != 0 ]]
}

# Restores a database under a temporary name, and gives it its final name at the end.
restore_as() {
  local folder=$1 stem=$2 target=$3 status=0 meanwhile
  meanwhile=restoring_$(date +%Y%m%d%H%M%S)_$$
  restore_into "$folder" "$stem" "$meanwhile" || status=$?
  [[ $status != 1 ]] || fail "$stem cannot be restored; nothing of it was kept"
  postgres psql -X -q -v ON_ERROR_STOP=1 -d postgres -v meanwhile="$meanwhile" -v target="$target" \
    <<<'ALTER DATABASE :"meanwhile" RENAME TO :"target"' || fail "the restored database is called $meanwhile; rename it by hand"
  [[ $status == 0 ]] || fail "database $target: restored, but different from the backup (see above); check it before you use it"
  say "database $target: restored, and equal to the backup"
}

main() {
  local dry_run=no argument words=()
  for argument in "$@"; do
    case $argument in
    --dry-run) dry_run=yes ;;
    -h | --help) usage 0 ;;
    -*) fail "there is no option $argument (a database of such a name: restore all, or rename it after)" 64 ;;
    *) words+=("$argument") ;;
    esac
  done
  [[ ${#words[@]} -ge 1 && ${#words[@]} -le 3 ]] || fail "name the folder of a backup, as in restore_backup.sh backups/20260302T030000; there was: $*" 64
  local folder=${words[0]} stem target
  [[ -d $folder ]] || fail "there is no folder $folder, or you may not see it (then use sudo)" 64
  check_sums "$folder"
  check_key "$folder"
  local -a stems=() wanted=() targets=()
  mapfile -t stems < <(databases_in "$folder")
  if [[ ${#words[@]} -ge 2 ]]; then
    stem=$("$ETL_VENV/bin/python" -P -m systemscripts.backups.dump stem "${words[1]}")
    [[ -f $folder/$stem.manifest ]] || fail "$folder has no database ${words[1]}; it has: ${stems[*]}" 64
    stems=("$stem")
  fi
  [[ ${#stems[@]} -gt 0 ]] || fail "$folder has no manifest: it was made by an older version"

  for stem in "${stems[@]}"; do
    printf -v target '%b' "${stem//%/\\x}" # not $(…), which would cut a line break at its end
    target=${words[2]:-$target}
    if [[ $target == postgres ]]; then
      printf 'database postgres: left as it is on every server; the backup has %s tables of it, for another name\n' "$(wc -l <"$folder/$stem.manifest")"
    elif exists "$target"; then
      fail "the database $target exists and is not overwritten; rename it first (ALTER DATABASE … RENAME TO …), or give a new name"
    else
      wanted+=("$stem")
      targets+=("$target")
    fi
  done
  if [[ $dry_run == yes ]]; then
    say "would make the roles that are missing, and restore ${targets[*]}"
    return
  fi
  globals "$folder" roles || fail 'the roles of the backup cannot be made'
  local number
  for number in "${!wanted[@]}"; do
    restore_as "$folder" "${wanted[number]}" "${targets[number]}"
  done
  [[ -z ${words[2]:-} ]] ||
    say "To remove the copy when it is no longer needed: bash onboarding/sh/psql.sh --as postgres -c 'DROP DATABASE \"$target\"'"
}

main "$@"
