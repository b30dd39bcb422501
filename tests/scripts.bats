#!/usr/bin/env bats
# How every script of the rooms answers to a person: asked for help, called wrongly, called by somebody who may not.

setup() {
  project=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
  export ETL_SECRETS_FILE=/nonexistent ETL_SITE_FILE=/nonexistent ETL_HOME=$BATS_TEST_TMPDIR
  # What goes through the door has a run of its own already, as far as the script is concerned.
  export ETL_RUN_UUID=00000000-0000-4000-8000-000000000000
}

scripts() {
  local script
  for script in "$project"/onboarding/sh/*.sh "$project"/jobscripts/*.sh; do
    grep -q '^# shellcheck shell=' "$script" || echo "$script"
  done
}

onboarding_scripts() { scripts | grep /onboarding/; }

ordinary() {
  if [[ $(id -u) -eq 0 ]]; then setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/ "$@"; else "$@"; fi
}

@test "bash can read every script" {
  for script in $(scripts); do
    run bash -n "$script"
    [ "$status" -eq 0 ] || { echo "$script: $output"; false; }
  done
}

@test "every script of an administrator says on --help how it is called, and does nothing" {
  for script in $(onboarding_scripts); do
    [ "$(basename "$script")" != psql.sh ] || continue # its arguments are psql's
    run bash "$script" --help
    [ "$status" -eq 0 ] || { echo "$script: $status"; false; }
    [[ $output == *"Usage: $(basename "$script")"* ]] || { echo "$script: $output"; false; }
  done
  [ -z "$(ls -A "$ETL_HOME")" ]
}

@test "a wrong call of an administrator's script is 64, with what was wrong" {
  for script in $(onboarding_scripts); do
    case $(basename "$script") in psql.sh | run_tests.sh | gmail_api.sh) continue ;; esac
    run bash "$script" --no-such-option a b c d
    [ "$status" -eq 64 ] || { echo "$script: $status $output"; false; }
    [[ $output == *--no-such-option* && ${#lines[@]} -eq 1 ]] || { echo "$script: $output"; false; }
  done
}

@test "who is not root is told how to call what root must run" {
  for name in configure_etl_user install_dependencies disable_power_saving CL_onboarding; do
    run ordinary bash "$project/onboarding/sh/$name.sh"
    [ "$status" -eq 64 ] || { echo "$name: $status $output"; false; }
    [[ $output == *"it must be run by root: sudo bash onboarding/sh/$name.sh"* ]]
  done
}

@test "a wrong call of a shell job is 64, and says what there was" {
  set -f
  while read -r name arguments; do
    # shellcheck disable=SC2086 # they are words
    run bash "$project/jobscripts/$name.sh" $arguments
    [ "$status" -eq 64 ] || { echo "$name $arguments: $status $output"; false; }
    [[ $output == *"$name.sh: "* || $output == *"delete_old_files.sh: "* ]] || { echo "$output"; false; }
  done <<'END'
daily_backup x
restore_drill a b
run_download_and_import x
receive_and_import
delete_old_files
delete_old_files / * 7
delete_old_files relative * 7
delete_old_files /tmp/x ../* 7
delete_old_files /tmp/x *.log -1
END
}

@test "a name of a package that is none reaches no shell and no apt" {
  run bash "$project/onboarding/sh/CL_onboarding.sh" 'htop; touch /tmp/owned'
  [ "$status" -eq 64 ]
  [[ $output == *"is not a package name"* ]]
}
