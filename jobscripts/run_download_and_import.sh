#!/usr/bin/env bash
# Download the MeetMax company lists and import them, with the scan they come from.
#
# Usage: run_download_and_import.sh
#
# Each step is a run of its own, with this one as its parent. A step that fails does not stop the
# next one: an older scan still says what to download, and downloaded files are still imported.
# Exits with the worst status of the steps.
set -euo pipefail

# shellcheck source=env.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../env.sh"
through_the_door "$@"

main() {
  [[ $# -eq 0 ]] || fail "it takes no arguments; there was: $*" 64
  step run_import_job.py MeetMaxURLCheckImport
  step meetmax_url_download.py
  step run_import_job.py MeetMax_Events_XLS_Import
  exit "$worst"
}

main "$@"
