#!/usr/bin/env bash
# Usage: CL_onboarding.sh [--dry-run] [PACKAGE...]
#
# Installs tools for a person: to look at processes, files and tables. The jobs do not need them. Without a PACKAGE
# it installs the list below. DBeaver is in no distribution; it comes from Flathub if flatpak is installed, as on Linux
# Mint. Run it as root. Run again, it adds missing packages.
#
# Examples:
#   sudo bash onboarding/sh/CL_onboarding.sh --dry-run
#   sudo bash onboarding/sh/CL_onboarding.sh htop tmux
set -euo pipefail

# shellcheck source=onboarding/sh/changes.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/changes.sh"

readonly TOOLS=(htop jq less ncdu pgcli ripgrep shellcheck tmux tree unattended-upgrades vim)
readonly DBEAVER=io.dbeaver.DBeaverCommunity

ensure_dbeaver() {
  if ! command -v flatpak >/dev/null; then
    say 'DBeaver was left out: it comes from Flathub, but flatpak is not installed'
  elif ! flatpak info --system "$DBEAVER" >/dev/null 2>&1; then
    change 'install DBeaver from Flathub' flatpak install --system --noninteractive flathub "$DBEAVER"
  fi
}

main() {
  local -a packages=()
  local argument
  for argument in "$@"; do
    if [[ $argument == -* ]]; then
      dry_run_or_help "$argument"
    elif [[ $argument =~ ^[a-z0-9][a-z0-9+.-]+$ ]]; then
      packages+=("$argument")
    else
      fail "'$argument' is not a package name" 64
    fi
  done
  need_root
  command -v apt-get >/dev/null || fail 'there is no apt-get: this is for Debian, Ubuntu and Linux Mint'
  if [[ ${#packages[@]} -gt 0 ]]; then
    ensure_packages "${packages[@]}"
  else
    ensure_packages "${TOOLS[@]}"
    ensure_dbeaver
  fi
  all_done
}

main "$@"
