# shellcheck shell=bash
# Lets a person grant access to a mailbox: for gmail_api.sh and mailbox_consent.sh, which source it after env.sh.

# Runs the module with the words that the script was called with, as the jobs' user.
consent() {
  local module=$1
  shift
  case ${1:-} in
  -h | --help) usage 0 ;;
  '') usage 64 >&2 ;;
  esac
  ! { [[ $(id -u) -eq 0 ]] && getent passwd "${ETL_CRON_USER:-etl_user}" >/dev/null; } ||
    fail "run it as the jobs' user: sudo -H -u ${ETL_CRON_USER:-etl_user} bash onboarding/sh/${0##*/} $*" 64
  [[ -x $ETL_VENV/bin/python ]] || bash "$ETL_PROJECT/onboarding/sh/make_venv.sh"
  exec "$ETL_VENV/bin/python" -P -m "$module" "$@"
}
