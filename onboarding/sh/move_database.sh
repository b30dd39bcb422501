#!/usr/bin/env bash
# Usage: move_database.sh [--dry-run] PGHOST=… [PGPORT=…] [PGDATABASE=…] [PGUSER=…] [PGSSLMODE=…] [PGSSLROOTCERT=…] [PGPASSFILE=…]
#        move_database.sh --undo [--lose-what-is-newer] [--dry-run] [PGUSER=…] [PGPASSFILE=…]
#
# Moves the database of this installation to another PostgreSQL server: from the embedded one to one of your own, or from
# one server to another. It dumps, restores, compares everything, and only then writes the new server into site.env.
# Until then the former database is the one in use and is not changed; it is never deleted. A move that ended early, or
# was killed, is started again with the same command.
#
# While it works no job begins (they end with 75, and etl check tells of them) and nobody can write; jobs that run are
# waited for, up to ten minutes. The dump goes to TMPDIR, or else to /var/tmp.
#
# PGUSER is the administrator of the new server (default postgres): a superuser, or one with CREATEROLE and CREATEDB. PGUSER and
# PGPASSFILE count for the move only. No password is an argument. The administrator's stands in PGPASSFILE or ~/.pgpass, and those
# of etl_user, etl_report and etl_backup in the file that the jobs use: lines HOST:PORT:DATABASE:USER:PASSWORD. Roles that are
# missing there get the passwords of these lines; those that the roles have at the former server are not read.
#
# --dry-run             look at both servers, and say what would be done
# --undo                go back to the former server. If something was written to the new one, it says what, and does nothing
# --lose-what-is-newer  go back all the same; what was written to the new one stays there
#
# The administrator of the former server is postgres, or the one that PGUSER names in the environment.
#
# On a machine with etl_user, and with the system's PostgreSQL, run it as root (sudo).
#
# Exits with 0 when all is done, 75 when a server is away or a job ran too long, 64 when it was called wrongly, else with 1.
#
# Examples:
#   bash onboarding/sh/move_database.sh --dry-run PGHOST=/var/run/postgresql
#   sudo bash onboarding/sh/move_database.sh PGHOST=db.example.com PGDATABASE=feeds PGUSER=admin PGPASSFILE=db.pgpass
#   bash onboarding/sh/move_database.sh --undo
set -euo pipefail

main() {
  # shellcheck source=env.sh
  source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../../env.sh"
  case " $* " in
  '  ') usage 64 >&2 ;;
  *' -h '* | *' --help '*) usage 0 ;;
  esac
  local secrets=$ETL_SECRETS_FILE owner
  owner=$(stat -c %U -- "$ETL_LOGS_DIR" 2>/dev/null) || owner=root
  # The jobs' own secrets, where root moves the database for another user.
  if [[ $EUID -eq 0 && $owner != root ]]; then
    secrets=$(getent passwd "$owner" | cut -d: -f6)/.config/client_etl_workflow/secrets.env
  fi
  exec "$ETL_VENV/bin/python" -P -m systemscripts.moving.moving "$ETL_SITE_FILE" "$secrets" "$@"
}

main "$@"
