#!/usr/bin/env bash
# Usage: entrypoint.sh [--task ID | --report ID] <script> [arguments for the script]
#
# The entry point of the image: runs one job of a CronJob by the door. Kubernetes names a Job after its CronJob and its
# planned minute (since 1970), so the slot is in ETL_JOB_NAME. A Job that a person made has another name, and no slot.
# A job that was skipped (75) has succeeded for Kubernetes: its row says why, and the watch tells.
set -euo pipefail

# Prints the planned time, or nothing.
slot() {
  local name=${ETL_JOB_NAME:-} minutes
  minutes=${name#"${ETL_CRONJOB:?}-"}
  [[ $name == "$ETL_CRONJOB-"* && $minutes =~ ^[1-9][0-9]{7}$ ]] || return 0
  date -u -d "@$((minutes * 60))" +%Y-%m-%dT%H:%M:%S+00:00
}

main() {
  local door options=() when status=0 job stopped=""
  door=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../../jobscripts/run_python_etl_script.sh
  when=$(slot)
  [[ -z $when ]] || options=(--scheduled-at "$when")
  # In the background, because a shell that waits for a program in the foreground passes on no signal.
  /bin/bash "$door" "${options[@]}" "$@" &
  job=$!
  trap 'stopped=yes; kill -TERM "$job"' TERM INT
  wait "$job" || status=$?
  # The signal ended that wait; this one gets the job's own status.
  if [[ -n $stopped ]]; then
    status=0
    wait "$job" || status=$?
  fi
  [[ $status != 75 ]] || status=0
  exit "$status"
}

main "$@"
