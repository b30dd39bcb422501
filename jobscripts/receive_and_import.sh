#!/usr/bin/env bash
# Take what came by mail and SFTP, import it, and tell those who sent it.
#
# Usage: receive_and_import.sh <import configuration>…
#
# The configurations, by id or name, are those whose files come this way. Each step is a run of its
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
