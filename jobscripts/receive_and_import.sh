#!/usr/bin/env bash
# Take the files that came by mail and SFTP, import them, and tell their senders.
#
# Usage: receive_and_import.sh <import configuration>…
#
# Name the import configurations whose files come this way, by id or name. Each step is a run of its
# own, with this one as its parent; a step that fails does not stop the next one. Exits with the
# worst status of the steps. As a job of the schedule:
#   scriptpath receive_and_import.sh, scriptargs Example_Conference_Calendar, frequency */10 * * * *
set -euo pipefail

# shellcheck source=env.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../env.sh"
through_the_door "$@"

main() {
  [[ $# -gt 0 ]] || fail 'name the import configurations, as in receive_and_import.sh Example_Conference_Calendar' 64
  local configuration
  step process_inbox.py
  step sftp_exchange.py
  for configuration in "$@"; do
    step run_import_job.py "$configuration"
  done
  step process_inbox.py --answers
  step sftp_exchange.py --receipts
  exit "$worst"
}

main "$@"
