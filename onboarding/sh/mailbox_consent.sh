#!/usr/bin/env bash
# Usage: mailbox_consent.sh <address of the mailbox> [--provider microsoft|graph|google|NAME] [--device] [--shared] [--dry-run]
#
# Gets access to a mailbox that takes no password, once, from a person with a browser on any computer.
# The jobs then use and renew it automatically. Run it as the jobs' user: it writes
# ~/.config/client_etl_workflow/oauth/rights/, mode 600. It prints an address; with --device also a short
# code to type there. Then it tries the logins by IMAP and SMTP, and says what is to be allowed if one is
# refused. For the mailbox of several people, log in as one of them who may use it. If all logins are refused,
# it keeps nothing and ends with 1; if none can be tried for now, it keeps the right and ends with 75.
#
# The program must be registered at the provider (docs/mailboxes.md says what to click). If it has a
# secret or a certificate of its own there, nobody is asked; the logins are tried.
#
#   --provider  who gives the right: microsoft (the default), graph (Microsoft Graph in place of IMAP and SMTP), google,
#               or NAME of a file oauth/NAME.json
#   --device    type a short code in the browser; without it, paste the address at which the browser ends
#   --shared    also ask for the mailboxes of others, where the provider tells them apart
#   --dry-run   say what would be asked for
#
# Examples:
#   sudo -H -u etl_user bash onboarding/sh/mailbox_consent.sh feeds@example.com
#   bash onboarding/sh/mailbox_consent.sh feeds@example.com --provider google --dry-run
set -euo pipefail

main() {
  # shellcheck source=env.sh
  source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../../env.sh"
  # shellcheck source=onboarding/sh/consent.sh
  source "$ETL_PROJECT/onboarding/sh/consent.sh"
  consent systemscripts.inbox.mailbox_consent "$@"
}

main "$@"
