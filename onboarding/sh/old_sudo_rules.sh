# shellcheck shell=bash
# Functions of configure_etl_user.sh: they find the rules of sudo that allow the jobs' user more than the exact commands
# of this system, and remove them. sudo's own cvtsudoers decides whether a rule is for that user, by name, number,
# group or alias.
# shellcheck disable=SC2154 # job_user, GROUP, lib_dir, sudoers_dir, sudo_backup_dir, dry_run and remove_old_sudo are the caller's

# Each rule that is found: its file, its first and its last line.
old_files=() old_first=() old_last=()

# Prints the main file and all files that it includes, as sudo reads them: no name with a dot in it or a ~ at its end.
sudoers_files() {
  local main=${sudoers_dir%/*}/sudoers file kind path
  [[ -e $main ]] || main=/etc/sudoers
  printf '%s\n' "$main"
  while read -r kind path; do
    path=${path//\"/}
    [[ $path == /* ]] || path=${main%/*}/$path
    case $kind in
    *include) [[ ! -f $path ]] || printf '%s\n' "$path" ;;
    *includedir) ls_sudoers "$path" ;;
    esac
  done < <(grep -E '^[#@]include(dir)?[[:space:]]' -- "$main")
  ls_sudoers "$sudoers_dir"
}

ls_sudoers() {
  local file
  for file in "$1"/*; do
    [[ ! -f $file || ${file##*/} == *.* || $file == *'~' ]] || printf '%s\n' "$file"
  done
}

# Calls a function for each rule or alias of a file, with the file, its first and last line, and its text on one line.
each_rule() {
  local call=$1 file=$2 line text='' number=0 first=1
  local -a lines=()
  mapfile -t lines <"$file"
  for line in "${lines[@]}"; do
    number=$((number + 1))
    text+=$line
    if [[ $line == *\\ ]]; then
      text=${text%\\}
      continue
    fi
    [[ $text =~ ^[[:space:]]*($|[#@]include|#[^0-9]|#$) ]] || "$call" "$file" "$first" "$number" "$text"
    text='' first=$((number + 1))
  done
}

note_alias() { [[ ! $4 =~ ^[[:space:]]*(User|Runas|Host|Cmnd|Cmd)_Alias[[:space:]] ]] || aliases+=$4$'\n'; }

is_exact() {
  [[ $1 == "$(sudo_rule | tail -n 1)" ]] && return
  # What setup_sftp.sh writes: as the client, and never as root.
  [[ $1 =~ ^"$job_user ALL=("([a-z_][a-z0-9_-]*)") NOPASSWD: $lib_dir/sftp_release "/[A-Za-z0-9_./-]+/incoming$ && ${BASH_REMATCH[1]} != root ]]
}

note_rule() {
  local text=$4
  [[ ! $text =~ ^[[:space:]]*(Defaults|User_Alias|Runas_Alias|Host_Alias|Cmnd_Alias|Cmd_Alias) ]] || return 0
  ! is_exact "$text" || return 0
  cvtsudoers -M -m "user=$job_user" -f json 2>/dev/null <<<"$aliases$text" | grep -q '"User_Specs"' || return 0
  old_files+=("$1") old_first+=("$2") old_last+=("$3")
}

# Says where the rule stands, and what it is.
told_rule() {
  local file=${old_files[$1]} first=${old_first[$1]}
  printf "line %s of %s: %s" "$first" "$file" "$(sed -n "${first},${old_last[$1]}p" -- "$file" | tr -d '\\\n' | tr -s '[:blank:]' ' ')"
}

# Whether nobody else loses by its removal: the rule names the jobs' user, or the group of the jobs.
is_theirs_alone() {
  local who
  read -r who _ < <(sed -n "${old_first[$1]}p" -- "${old_files[$1]}" | tr -s '[:blank:]' ' ' | sed 's/ ,/,/')
  [[ $who == "$job_user" || $who == "%$GROUP" || $who == "#$(id -u -- "$job_user" 2>/dev/null)" ]]
}

find_old_rules() {
  local aliases='' file
  local -a files=()
  old_files=() old_first=() old_last=()
  if ! command -v cvtsudoers >/dev/null; then
    say "warning: there is no cvtsudoers, so old rules of sudo are not looked for; type: sudo -l -U $job_user"
    return 0
  fi
  mapfile -t files < <(sudoers_files | sort -u)
  for file in "${files[@]}"; do each_rule note_alias "$file"; done
  for file in "${files[@]}"; do each_rule note_rule "$file"; done
}

# Stops unless each rule that was found may be removed; names them in a dry run.
check_old_rules() {
  local number
  local -a kept=()
  find_old_rules
  for number in "${!old_files[@]}"; do
    if [[ $(sed -n "${old_first[$number]}p" -- "${old_files[$number]}") =~ ^[[:space:]]*ALL[[:space:],] ]]; then
      say "warning: by sudo everybody on this machine, and so each job, may do this: $(told_rule "$number")"
    elif is_theirs_alone "$number"; then
      kept+=("$number")
    elif [[ $dry_run == yes ]]; then
      say "would stop: $(shared_rule "$number")"
    else
      fail "$(shared_rule "$number")"
    fi
  done
  rules_to_remove=("${kept[@]}")
  for number in "${kept[@]}"; do
    [[ $dry_run == yes || $remove_old_sudo == yes ]] || ask_for_removal "$number"
  done
}

shared_rule() {
  printf "%s by sudo may do more than its one command, by a rule that is for others too, %s; take %s out of it: sudo visudo -f %q (or out of the group: sudo gpasswd --delete %s GROUP)" \
    "$job_user" "$(told_rule "$1")" "$job_user" "${old_files[$1]}" "$job_user"
}

ask_for_removal() {
  local about
  about="by sudo $job_user, and so each job, may do more than its one command, by $(told_rule "$1")"
  agrees "$about" 'Remove this line?' ||
    fail "$about; to remove that line, type: sudo bash onboarding/sh/configure_etl_user.sh --remove-old-sudo"
}

# From the last to the first, so that the numbers of the lines above stay right.
remove_old_rules() {
  local at number asked=''
  [[ $dry_run == no || $remove_old_sudo == yes ]] || asked='ask, and with yes '
  for ((at = ${#rules_to_remove[@]} - 1; at >= 0; at--)); do
    number=${rules_to_remove[at]}
    change "${asked}remove $(told_rule "$number")" remove_rule "${old_files[$number]}" "${old_first[$number]}" "${old_last[$number]}"
  done
}

# Takes the lines out of the file, which is kept first; if sudo does not accept what is left, it is put back.
remove_rule() {
  local file=$1 first=$2 last=$3 kept new
  make_directory "$sudo_backup_dir" root:root 700
  kept=$(mktemp -- "$sudo_backup_dir/${file##*/}.$(date +%Y%m%dT%H%M%S).XXXX")
  cp -p -T -- "$file" "$kept"
  # sudo reads no name with a dot in it.
  new=$(mktemp -- "${file%/*}/.${file##*/}.XXXXXX")
  cp -p -T -- "$file" "$new"
  sed "${first},${last}d" -- "$file" >"$new"
  mv -T -- "$new" "$file"
  if ! visudo -c -q; then
    cp -p -T -- "$kept" "$new"
    mv -T -- "$new" "$file"
    fail "$file is as it was: without its line $first sudo would not accept its rules; type: sudo visudo -c"
  fi
  say "the former file is kept as $kept"
}
