#!/usr/bin/env bash
# Back up every database, and the roles, into a folder that appears only if everything succeeded.
#
# Usage: daily_backup.sh
#
# Writes backups/<yyyyMMddTHHmmss>/ with, for each database, DATABASE.dump (custom format) and DATABASE.manifest
# (rows and a checksum of each table, of the same moment), globals.json (roles without passwords, and the properties
# of each database), globals.sql (the same for a person) and SHA256SUMS. The folder gets its name only after every dump
# has ended without error and pg_restore has read it to its end. Only then are older folders deleted: after
# ETL_BACKUP_KEEP_DAYS (default 30), but never the newest ETL_BACKUP_KEEP_COUNT (default 7).
#
# ETL_BACKUP_AGE_RECIPIENT    a public key of age: dumps and roles are encrypted for it, and end in .age
# ETL_BACKUP_COPY_TO          the place for a copy of the new folder: by rsync (/mnt/disk/backups, user@host:backups), by SFTP
#                             (sftp://user@host/backups) or in a cloud (rclone:NAME/bucket/backups). Older copies there are
#                             not deleted. If a copy fails, the next run makes it again
set -euo pipefail

# shellcheck source=env.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../env.sh"
through_the_door "$@"
# shellcheck source=systemscripts/backups/backup.sh
source "$ETL_PROJECT/systemscripts/backups/backup.sh"

# Dumps one database and proves that the dump can be read.
dump_database() {
  local stem=$1 folder=$2
  "$ETL_VENV/bin/python" -P -m systemscripts.backups.dump make "$stem" "$folder" ||
    fail "the dump of $stem failed; nothing was kept"
  # The list of the dump alone would not show that data was cut off.
  as_role etl_backup pg_restore --file=/dev/null "$folder/$stem.dump" ||
    fail "the dump of $stem cannot be read; nothing was kept"
}

# Replaces files with data by their encrypted form. The manifests stay readable: they hold only names and numbers.
encrypt() {
  local folder=$1 file
  for file in "$folder"/*.dump "$folder"/globals.*; do
    age --encrypt --recipient "$ETL_BACKUP_AGE_RECIPIENT" --output "$file.age" "$file" ||
      fail "$file cannot be encrypted; nothing was kept"
    rm -f -- "$file"
  done
}

# Deletes our own older folders by age, but keeps the newest ones at any age.
purge() {
  local folder oldest
  local -a ours=() old=()
  oldest=$(date -d "-${ETL_BACKUP_KEEP_DAYS:-30} days" +%Y%m%dT%H%M%S)
  mapfile -t ours < <(backup_folders)
  for folder in "${ours[@]:${ETL_BACKUP_KEEP_COUNT:-7}}"; do
    if [[ ${folder##*/} < $oldest ]]; then old+=("$folder"); fi
  done
  [[ ${#old[@]} -gt 0 ]] && "$ETL_VENV/bin/python" -P -m systemscripts.clock || return 0
  for folder in "${old[@]}"; do
    rm -rf -- "$folder"
    say "deleted $folder"
  done
}

# Copies the folder to the other place. It counts as a backup only when it is complete: then it gets its name (SFTP) or its
# SHA256SUMS (rsync, cloud).
copy_elsewhere() {
  local folder=$1 name=${1##*/}
  local -a rsync=(rsync --archive --protect-args --timeout=300)
  case $ETL_BACKUP_COPY_TO in
  rclone:*) "$ETL_VENV/bin/python" -P -m systemscripts.backups.cloud_copy "$folder" >&2 ;;
  sftp://*)
    ! sftp -q -b - -o BatchMode=yes "$ETL_BACKUP_COPY_TO" >/dev/null 2>&1 <<<"ls \"$name/SHA256SUMS\"" || return 0
    (
      cd -- "$folder"
      sftp -q -b - -o BatchMode=yes "$ETL_BACKUP_COPY_TO" >/dev/null <<END
-mkdir "$name.part"
put * "$name.part/"
rename "$name.part" "$name"
END
    )
    ;;
  *)
    "${rsync[@]}" --exclude=/*/SHA256SUMS -- "$folder" "$ETL_BACKUP_COPY_TO/" &&
      "${rsync[@]}" -- "$folder" "$ETL_BACKUP_COPY_TO/"
    ;;
  esac
}

# Notes which backups must still be copied. If that fails too, a person must copy them.
note_uncopied() {
  local file=$ETL_BACKUP_DIR/not_copied
  if ! { printf '%s\n' "$@" >"$file.part" && mv -T -- "$file.part" "$file"; }; then
    say "$file cannot be written: if a copy fails now, the next run does not repeat it" >&2
  fi
}

# Copies these backups, which are named in a file until that is done, and prints those that failed.
copy_all_elsewhere() {
  local name
  local -a left=()
  for name in "$@"; do
    [[ ! -d $ETL_BACKUP_DIR/$name ]] || copy_elsewhere "$ETL_BACKUP_DIR/$name" || left+=("$name")
  done
  if [[ ${#left[@]} -eq 0 ]]; then
    rm -f -- "$ETL_BACKUP_DIR/not_copied" "$ETL_BACKUP_DIR/not_copied.part"
  else
    note_uncopied "${left[@]}"
    printf '%s ' "${left[@]}"
  fi
}

check_settings() {
  local number
  for number in "${ETL_BACKUP_KEEP_COUNT:-7}" "${ETL_BACKUP_KEEP_DAYS:-30}"; do
    [[ $number =~ ^[1-9][0-9]{0,3}$ ]] || fail "ETL_BACKUP_KEEP_COUNT and ETL_BACKUP_KEEP_DAYS must be whole numbers from 1; there was: $number" 64
  done
  if [[ -n ${ETL_BACKUP_AGE_RECIPIENT:-} ]]; then
    needs age
    age --encrypt --recipient "$ETL_BACKUP_AGE_RECIPIENT" </dev/null >/dev/null ||
      fail 'age cannot encrypt for ETL_BACKUP_AGE_RECIPIENT; nothing was backed up'
  fi
  case ${ETL_BACKUP_COPY_TO:-} in
  '') ;;
  rclone:*) "$ETL_VENV/bin/python" -P -m systemscripts.backups.cloud_copy check || fail 'ETL_BACKUP_COPY_TO is no place; nothing was backed up' 64 ;;
  sftp://*) needs sftp openssh-client ;;
  *) needs rsync ;;
  esac
}

main() {
  [[ $# -eq 0 ]] || fail "it takes no arguments; there was: $*" 64
  check_settings
  mkdir -p -- "$ETL_BACKUP_DIR"
  local stamp stem databases folder left
  local -a uncopied=()
  stamp=$(date +%Y%m%dT%H%M%S)
  folder=$ETL_BACKUP_DIR/$stamp
  if [[ -e $folder ]]; then # made within this very second
    sleep 1
    stamp=$(date +%Y%m%dT%H%M%S)
    folder=$ETL_BACKUP_DIR/$stamp
  fi
  # What a backup that was killed has left; no other one runs now.
  find "$ETL_BACKUP_DIR/" -mindepth 1 -maxdepth 1 -type d -name "$BACKUP_STAMP.part" -exec rm -rf -- {} +
  building=$folder.part
  mkdir -- "$building"
  trap 'rm -rf -- "$building"' EXIT

  databases=$("$ETL_VENV/bin/python" -P -m systemscripts.backups.dump list) || fail 'the list of databases cannot be read'
  while IFS= read -r stem; do
    dump_database "$stem" "$building"
  done <<<"$databases"
  "$ETL_VENV/bin/python" -P -m systemscripts.backups.dump roles "$building/globals.sql" ||
    fail 'pg_dumpall of the roles failed; nothing was kept'
  "$ETL_VENV/bin/python" -P -m systemscripts.backups.globals make "$building/globals.json" ||
    fail 'the roles and settings cannot be read, or not written; nothing was kept'
  if [[ -n ${ETL_BACKUP_AGE_RECIPIENT:-} ]]; then
    encrypt "$building"
  fi
  (cd -- "$building" && sums=$(sha256sum -- *) && printf '%s\n' "$sums" >SHA256SUMS && sync -- *) ||
    fail 'the checksums cannot be written; nothing was kept'

  # Noted before the backup is there: a run that is killed in between has it copied by the next one.
  if [[ -n ${ETL_BACKUP_COPY_TO:-} ]]; then
    [[ ! -f $ETL_BACKUP_DIR/not_copied ]] || mapfile -t uncopied <"$ETL_BACKUP_DIR/not_copied"
    uncopied+=("$stamp")
    note_uncopied "${uncopied[@]}"
  fi
  mv -T -- "$building" "$folder"
  trap - EXIT
  say "backed up ${databases//$'\n'/, } into $folder"
  purge
  if [[ -n ${ETL_BACKUP_COPY_TO:-} ]]; then
    left=$(copy_all_elsewhere "${uncopied[@]}")
    [[ -z $left ]] ||
      fail "the backup is good, and lies in $folder, but copying to $ETL_BACKUP_COPY_TO failed, of: ${left% }; the next run tries again"
    say "copied it to $ETL_BACKUP_COPY_TO"
  fi
}

main "$@"
