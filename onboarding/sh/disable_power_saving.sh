#!/usr/bin/env bash
# Usage: disable_power_saving.sh [--undo] [--dry-run]
#
# Keeps this machine awake, so that jobs run at night: it no longer sleeps by itself, by a button of the desktop, or when
# its lid is closed. Run it as root. Run again, it changes only what differs. --undo reverts all changes.
#
# Examples:
#   sudo bash onboarding/sh/disable_power_saving.sh --dry-run
#   sudo bash onboarding/sh/disable_power_saving.sh
set -euo pipefail
umask 022

# shellcheck source=onboarding/sh/changes.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/changes.sh"

readonly TARGETS=(sleep.target suspend.target hibernate.target hybrid-sleep.target suspend-then-hibernate.target)
readonly LID=/etc/systemd/logind.conf.d/client_etl_workflow.conf

lid_rules() {
  cat <<'END'
# Written by disable_power_saving.sh: a closed lid or an idle desktop does not stop the jobs.
[Login]
HandleLidSwitch=ignore
HandleLidSwitchExternalPower=ignore
HandleLidSwitchDocked=ignore
IdleAction=ignore
END
}

is_masked() { [[ $(readlink -- "/etc/systemd/system/$1") == /dev/null ]]; }

# The login daemon reads its rules again without ending any session.
tell_logind() {
  [[ ! -d /run/systemd/system ]] || change 'let systemd-logind read its rules' systemctl kill --signal=HUP systemd-logind.service
}

keep_awake() {
  local target
  for target in "${TARGETS[@]}"; do
    is_masked "$target" || change "mask $target" systemctl mask --quiet "$target"
  done
  if ! has_content "$LID" 644 "$(lid_rules)"; then
    [[ -d $(dirname -- "$LID") ]] || change "make $(dirname -- "$LID")" mkdir -p -- "$(dirname -- "$LID")"
    change "write $LID" write_file "$LID" 644 < <(lid_rules)
    tell_logind
  fi
}

let_sleep() {
  local target
  for target in "${TARGETS[@]}"; do
    ! is_masked "$target" || change "unmask $target" systemctl unmask --quiet "$target"
  done
  if [[ -e $LID ]]; then
    change "delete $LID" rm -f -- "$LID"
    tell_logind
  fi
}

main() {
  local action=keep_awake argument
  for argument in "$@"; do
    case $argument in
    --undo) action=let_sleep ;;
    *) dry_run_or_help "$argument" ;;
    esac
  done
  need_root
  command -v systemctl >/dev/null || fail 'there is no systemctl: this script needs systemd to keep the machine awake'
  "$action"
  all_done
}

main "$@"
