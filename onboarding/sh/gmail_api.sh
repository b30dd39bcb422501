#!/usr/bin/env bash
# Usage: gmail_api.sh <address of the mailbox> [--dry-run]
#
# Gets access to read and label the mail of a Gmail mailbox, once, from a person with a browser. The
# jobs then use and renew it automatically. Run it as the jobs' user: it writes
# ~/.config/client_etl_workflow/gmail_token_<address>.json, mode 600. It prints an address. Open that
# address in a browser on any computer, and paste the answer here.
#
# It needs ~/.config/client_etl_workflow/credentials.json, an OAuth client of the type "Desktop app"
# from Google's console (systemscripts/credentials.json shows its form). Publish that client there: a
# client in testing loses its access after seven days.
#
# Examples:
#   sudo -H -u etl_user bash onboarding/sh/gmail_api.sh feeds@example.com
#   bash onboarding/sh/gmail_api.sh feeds@example.com --dry-run
set -euo pipefail

main() {
  # shellcheck source=env.sh
  source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../../env.sh"
  # shellcheck source=onboarding/sh/consent.sh
  source "$ETL_PROJECT/onboarding/sh/consent.sh"
  consent systemscripts.mail.gmail_consent "$@"
}

main "$@"
