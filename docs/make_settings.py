"""Write docs/settings.md: every environment variable that the jobs and the scripts read.

    venv/bin/python docs/make_settings.py

Name, type, default and reader come from the code: systemscripts/settings.py, env.sh and the shell scripts. The
meanings stand here, for people. A variable that the code reads and this file does not explain, or the other way
round, is an error.
"""

import ast
import re
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parent.parent
TARGET = PROJECT / "docs/settings.md"

HEAD = """# Settings

Every setting is an environment variable. Where to write it:

- what nobody else may read (passwords, keys): `~/.config/client_etl_workflow/secrets.env` of the user that the jobs run
  as, mode 600;
- what all users of this machine share (which server, where the data is): `site.env` beside `env.sh`, mode 644.

One `NAME=value` a line; see [administration](administration.md#two-files-of-settings). What is set in the environment
already stays as it is: `ETL_SETTLE_SECONDS=60 etl import prices` is for one command. An empty value counts as not set.
A value that cannot be used stops the job with a sentence that says what was expected.

Settings with names of your own are the passwords of protected files, such as `ETL_FILE_PASSWORD_ACME`, or the file of one in
`ETL_FILE_PASSWORD_ACME_FILE`; see [feeds](feeds.md#passwords).

This page is made by `docs/make_settings.py` from the code. Do not edit it by hand.
"""

MEANINGS = {
    "Where things are": {
        "ETL_HOME": "the directory below which data, logs and the embedded database are",
        "ETL_LOGS_DIR": "log files",
        "ETL_ARCHIVE_DIR": "archived MeetMax files, and mails as they came",
        "ETL_FILE_WATCHER_DIR": "where MeetMax files arrive; refused files are in its `failed/`",
        "ETL_BACKUP_DIR": "backups",
        "ETL_PAGE_FILE": "the status page; a web server's directory, if others shall see it",
        "ETL_PAGE_COPY": "where each new status page is copied to: `sftp://user@host/page.html`, below the login's folder; "
        "with `//` after the host: from the root on; or by rsync over ssh `rsync:user@host:page.html`, or into a "
        "[cloud](clouds.md) `rclone:NAME/folder/page.html`",
        "ETL_CONFIG_FILE": "the YAML file that the configuration's tables are kept equal to; `doctor.py` compares them",
        "ETL_VENV": "the virtual environment with Python and its packages",
        "ETL_SECRETS_FILE": "the user's file of settings and secrets",
        "ETL_SITE_FILE": "the file of settings for all users of this machine",
        "TZ": "the time zone of this process, such as `Europe/Berlin`; not set: the machine's",
    },
    "Database": {
        "PGHOST": "the server, or the directory of its socket. Any of the first six switches the embedded server off",
        "PGHOSTADDR": "the server's numeric address",
        "PGPORT": "its port",
        "PGDATABASE": "the database",
        "PGUSER": "the role to log in as, in place of the one that each job chooses (report queries always run as `etl_report`)",
        "PGSERVICE": "a section of libpq's service file, in place of the others",
        "PGSSLMODE": "how TLS is used; to another machine the server's certificate is verified unless this says otherwise",
        "PGSSLROOTCERT": "the certificates that are trusted",
        "PGPASSFILE": "the file of passwords, mode 600",
        "PGOPTIONS": "options for the session; `etl sql` adds read-only to them",
        "ETL_PG_BINDIR": "the directory of PostgreSQL's programs, for a server newer than 18",
    },
    "Mail that goes out": {
        "SMTP_HOST": "the mail server",
        "SMTP_PORT": "its port",
        "SMTP_SECURITY": "`ssl` (TLS from the start), `starttls`, or `none`, which is for a server on this machine only",
        "SMTP_TIMEOUT": "how many seconds the mail server may be silent",
        "ETL_EMAIL": "the address that mail is sent from, and the login at the mail server",
        "ETL_SMTP_AUTH": "the login there: `password`, or a token, such as `oauth:microsoft`; `graph`: Microsoft Graph in place of SMTP",
        "ETL_EMAIL_PASSWORD": "its password; empty where the server wants none",
        "ETL_EMAIL_PASSWORD_FILE": "a file with that password, mode 600, in place of it",
        "ETL_ALERT_EMAIL": "where failures go, and reports that have no recipients yet: the owner",
    },
    "Files that come in": {
        "ETL_SETTLE_SECONDS": "how long a file must have been left alone before it counts as whole",
        "ETL_CSV_MAX_RECORD_MB": "how many MiB one record of a CSV may have",
        "ETL_UNPACKED_MAX_MB": "how many MiB a compressed file may have when unpacked, or the files of one archive together",
        "ETL_UNPACKED_MAX_RATIO": "how many times its size a packed file may be when unpacked, against files made to harm",
    },
    "Spreadsheets": {
        "ETL_SPREADSHEET_MEMORY_MB": "how many MiB of memory reading one spreadsheet may take",
        "ETL_SPREADSHEET_SECONDS": "how long reading one spreadsheet may take",
        "ETL_SPREADSHEET_MAX_CELLS": "how many cells one sheet may have, empty ones between included",
        "ETL_SPREADSHEET_MAX_MB": "how many MiB a workbook may be when unpacked, and its CSV",
        "ETL_SPREADSHEET_MAX_RATIO": "how many times its size a workbook may be when unpacked, against zip bombs",
    },
    "Mailboxes": {
        "GMAIL_CREDENTIALS_FILE": "the OAuth client from Google's console",
        "GMAIL_TOKEN_FILE": "the right to a mailbox, which `gmail_api.sh` writes",
        "GMAIL_API_ENDPOINT": "another address for Gmail's API, for tests; not set: Google's",
        "ETL_IMAP_PASSWORD": "the password of the mailbox; not set: the file `imap_<account>.password`",
        "ETL_IMAP_PASSWORD_FILE": "a file with that password, mode 600, in place of it",
        "ETL_IMAP_EXACT_SIZES": "`no` for an IMAP server that only estimates the size of a mail",
        "ETL_MAILBOX_TIMEOUT": "how many seconds a mailbox may be silent",
        "ETL_INBOX_MAX_MB": "how many MiB one mail may have",
        "ETL_INBOX_MAX_FILES": "how many files one mail may have",
    },
    "Mailboxes without a password": {
        "ETL_OAUTH_DIR": "where providers are described (`NAME.json`), and where the rights are that were granted (`rights/`)",
        "ETL_MICROSOFT_CLIENT_ID": "this program's Application (client) ID at Microsoft Entra",
        "ETL_MICROSOFT_TENANT": "the tenant of the mailboxes: its id or its domain",
        "ETL_MICROSOFT_CLIENT_SECRET": "the secret of a program that logs in for itself; not set: a person grants the right",
        "ETL_MICROSOFT_CLIENT_SECRET_FILE": "a file with that secret, mode 600, in place of it",
        "ETL_MICROSOFT_CLIENT_SECRET_ENDS": "the day on which that secret ends, such as `2027-05-31`, so that the owner is told before",
        "ETL_MICROSOFT_CERTIFICATE": "a file with the private key and the certificate of such a program, mode 600, in place of a secret",
    },
    "SFTP": {
        "ETL_SFTP_ROOT": "where the clients' folders are; set it at the first `setup_sftp.sh add`",
        "ETL_SFTP_SETTLE_SECONDS": "how long a file must have been left alone in an SFTP folder before it is taken",
        "ETL_SFTP_MAX_MB": "how many MiB one file may have",
        "ETL_SFTP_TIMEOUT": "how many seconds a server elsewhere may be silent",
        "ETL_SFTP_KNOWN_HOSTS": "one file with the keys of known servers, in place of the usual ones",
    },
    "Files by the cloud": {
        "ETL_REMOTES_DIR": "the files of the remotes, one for each cloud folder's login",
        "ETL_CLOUD_TIMEOUT": "how many seconds a cloud may be silent; a whole answer may take ten times as long, and longer for many bytes",
        "SSL_CERT_FILE": "certificates that are trusted when a cloud is asked, in place of the machine's",
        "SSL_CERT_DIR": "the same, as a directory",
        "HTTPS_PROXY": "the proxy to the clouds, as a URL",
        "NO_PROXY": "the hosts that are asked without the proxy",
    },
    "MeetMax and the web": {
        "MEETMAX_BASE_URL": "the MeetMax site",
        "ETL_USER_AGENT": "how this program names itself to a site",
        "ETL_REQUEST_INTERVAL": "the least number of seconds between two requests to one host, over all processes",
        "ETL_REQUEST_TIMEOUT": "how many seconds a site may be silent",
        "ETL_REQUEST_RETRIES": "how often a request that failed for the moment is made again",
        "ETL_REFUSALS_ALLOWED": "after how many failed requests in a row a host is left alone for the rest of the run",
        "ETL_OBEY_ROBOTS": "whether a site's robots.txt decides what may be fetched",
    },
    "Reports": {
        "ETL_REPORT_ROWS": "how many rows one attachment may have",
    },
    "Schedule": {
        "ETL_CRON_FILE": "the file that cron reads",
        "ETL_CRON_USER": "the user that the jobs run as",
        "ETL_QUIET_HOURS": "between these times, such as 22:00-06:30, only what is urgent is mailed; the rest comes as one mail after them",
        "ETL_PING_URL": "an address that each check of the schedule calls, for a dead man's switch outside",
        "ETL_PAGE_URL": "the address at which the status page is seen; alerts and the weekly letter link to it",
    },
    "Backups": {
        "ETL_BACKUP_KEEP_DAYS": "older backups are deleted",
        "ETL_BACKUP_KEEP_COUNT": "but the newest so many always stay",
        "ETL_BACKUP_COPY_TO": "where a copy of each backup goes: a directory, `user@host:folder`, `sftp://user@host/folder`, or in a "
        "[cloud](clouds.md) `rclone:NAME/bucket/folder`",
        "ETL_BACKUP_AGE_RECIPIENT": "a public key of age: backups are encrypted for it",
        "ETL_BACKUP_AGE_IDENTITY": "the file of the private key, needed to restore an encrypted backup",
    },
    "Set-up of a machine": {
        "ETL_BIN_DIR": "where root puts the command `etl`",
        "ETL_LIB_DIR": "where the helpers are that root installs",
        "ETL_SUDOERS_DIR": "where the rules of sudo are",
        "ETL_SSH_DIR": "where the settings of the SSH server are",
    },
    "Demonstrations and tests": {
        "ETL_CLOCK": "a time such as `2026-03-02T05:00:00` in place of the present one",
        "ETL_HOST": "another name for this machine in runs and mails",
        "ETL_TEST_REAL_DOOR": "`1`: no job of a test is forked from a process that has the imports",
        "ETL_TEST_WORKERS": "how many tests run at once",
        "ETL_REQUIRE_ALL_TESTS": "`1`: a test that needs what is not there fails, and is not left out",
        "ETL_CORPUS_DIR": "a directory of real files to test against",
    },
    "Set by the system itself (do not set them)": {
        "ETL_PROJECT": "the checkout",
        "ETL_RUN_UUID": "the run that this process belongs to",
        "ETL_SCHEDULED_AT": "the slot that a schedule started this run for",
        "ETL_GATE_FD": "the descriptor at which a job waits until its row is open",
        "ETL_TERMINAL": "whether a person watches",
        "ETL_PRINTS_TO_TERMINAL": "whether standard output is a terminal",
    },
}

# What stands in the code where the default is no plain value, as a reader knows it.
DEFAULTS = {
    "project_dir()": "the checkout",
    "etl_home() / 'logs'": "`$ETL_HOME/logs`",
    "logs_dir() / 'status_page.html'": "`status_page.html` in `ETL_LOGS_DIR`",
    "etl_home() / 'archive'": "`$ETL_HOME/archive`",
    "etl_home() / 'backups'": "`$ETL_HOME/backups`",
    "etl_home() / 'file_watcher'": "`$ETL_HOME/file_watcher`",
    "Path('/usr/local/lib/client_etl_workflow')": "`/usr/local/lib/client_etl_workflow`",
    "Path('/etc/cron.d/etl_jobs')": "`/etc/cron.d/etl_jobs`",
    "Path(home_directory()) / '.pgpass'": "`~/.pgpass`",
    "Path()": "",
    "user_config_dir() / 'credentials.json'": "`~/.config/client_etl_workflow/credentials.json`",
    "user_config_dir() / f'gmail_token_{account}.json'": "`~/.config/client_etl_workflow/gmail_token_<account>.json`",
    "user_config_dir() / 'rclone'": "`~/.config/client_etl_workflow/rclone`",
    "user_config_dir() / 'oauth'": "`~/.config/client_etl_workflow/oauth`",
    "_SMTP_PORTS[smtp_security()]": "465 for ssl, 587 for starttls, 25 for none",
    "email_address()": "`ETL_EMAIL`",
    "os.uname().nodename": "the machine's name",
    "os.isatty(2)": "",
    "os.isatty(1)": "",
}
SHELL_DEFAULTS = {
    "$ETL_PROJECT/venv": "`venv/` in the checkout",
    "$ETL_PROJECT/site.env": "`site.env` in the checkout",
    "$user_home/.config/client_etl_workflow/secrets.env": "`~/.config/client_etl_workflow/secrets.env`",
    "$(former_root)": "where they are, else `/srv/sftp`",
    "$(($(nproc) + 1))": "one more than the machine has processors",
}
# What the code does not say at one place.
DATABASE_DEFAULTS = {"PGDATABASE": "`feeds`", "PGPORT": "`5432`", "PGHOST": "the embedded server"}
SHELL_TYPES = {
    "ETL_BACKUP_KEEP_DAYS": "whole number from 1 to 9999", "ETL_BACKUP_KEEP_COUNT": "whole number from 1 to 9999",
    "ETL_TEST_WORKERS": "whole number from 1", "ETL_BACKUP_AGE_IDENTITY": "absolute path",
}  # fmt: skip
# Read in what every job loads: to keep it out of the logs, or for the mails of some.
USED_BY = {
    "ETL_PING_URL": "check_schedule.py, doctor.py",
    "ETL_PAGE_URL": "check_schedule.py, doctor.py, send_weekly_letter.py",
}

TYPES = {
    "text": "text", "integer": "whole number", "seconds": "seconds", "choice": "word", "switch": "yes or no",
    "path": "absolute path", "secret": "secret",
}  # fmt: skip

# Which command a person knows a room by.
READERS = {
    "importing": "run_import_job.py", "generic_import": "run_import_job.py", "file_kinds": "run_import_job.py",
    "xls_to_csv": "run_import_job.py, xls_to_csv.py",
    "inbox": "process_inbox.py", "exchange": "sftp_exchange.py", "cloud": "sftp_exchange.py", "reporting": "send_reports.py",
    "sources": "meetmax_url_check.py, meetmax_url_download.py", "web": "meetmax_url_check.py, meetmax_url_download.py",
    "web_utils": "meetmax_url_check.py, meetmax_url_download.py",
    "cron": "update_cron_jobs.py", "schedule": "check_schedule.py", "doctor": "doctor.py",
    "backups": "daily_backup.sh, restore_drill.sh, restore_backup.sh",
    "mail": "all mail that goes out", "mail.gmail_login": "process_inbox.py", "mail.gmail_consent": "gmail_api.sh",
    "mail.oauth": "all mail that goes out, process_inbox.py",
}  # fmt: skip
EVERY_JOB = "every job"

NAME = r"(?:ETL|SMTP|GMAIL|MEETMAX)_[A-Z_]+|PG[A-Z]{3,}|TZ|(?:HTTPS|NO)_PROXY|SSL_CERT_[A-Z]+"


class Setting(NamedTuple):
    """A variable as the code reads it."""

    name: str
    kind: str = "text"
    default: str = ""


def python_settings() -> tuple[dict[str, Setting], dict[str, set[str]]]:
    """Return what settings.py reads, by name, and by name the functions that read it."""
    found: dict[str, Setting] = {}
    functions: dict[str, set[str]] = {}
    tree = ast.parse((PROJECT / "systemscripts/settings.py").read_text(encoding="utf-8"))
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        for node in ast.walk(function):
            setting = _setting(node)
            if setting is None:
                continue
            functions.setdefault(setting.name, set()).add(function.name)
            if not found.get(setting.name, Setting("")).default:
                found[setting.name] = setting
            if setting.kind == "secret":
                found[f"{setting.name}_FILE"] = Setting(f"{setting.name}_FILE", "absolute path")
                functions.setdefault(f"{setting.name}_FILE", set()).add(function.name)
    servers = next(
        node.value for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_SERVER_VARIABLES"
    )  # fmt: skip
    for name in ast.literal_eval(servers):
        found.setdefault(name, Setting(name))
        functions.setdefault(name, set()).add("names_a_server")
    return found, functions


def _setting(node: ast.AST) -> Setting | None:
    """Return the setting that this call reads, None for every other piece of code."""
    if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
        return None
    reader, name = ast.unparse(node.func), node.args[0].value
    if reader in ("os.environ.get", "os.environ.pop"):
        reader = "text"
    if reader not in TYPES or not re.fullmatch(NAME, str(name)):
        return None
    position = 2 if reader == "choice" else 1
    default = node.args[position] if len(node.args) > position else None
    kind = TYPES[reader]
    if reader == "integer":
        limits = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords}
        kind += f" from {limits.get('minimum', 0)}" + (f" to {limits['maximum']}" if "maximum" in limits else "")
    return Setting(str(name), kind, "" if default is None else _shown(default))


def _shown(default: ast.expr) -> str:
    if isinstance(default, ast.Constant):
        if isinstance(default.value, bool):
            return "yes" if default.value else "no"
        shown = f"{default.value:g}" if isinstance(default.value, float) else str(default.value)
        return f"`{shown}`" if shown else ""
    return DEFAULTS[ast.unparse(default)]


def shell_scripts() -> list[Path]:
    folders = ("jobscripts", "onboarding/sh", "systemscripts/backups")
    return [PROJECT / "env.sh", *sorted(file for folder in folders for file in (PROJECT / folder).glob("*.sh"))]


def shell_settings() -> tuple[dict[str, Setting], dict[str, set[str]]]:
    """Return what the shell scripts read, by name, and by name the scripts that read it."""
    found: dict[str, Setting] = {}
    readers: dict[str, set[str]] = {}
    for script in shell_scripts():
        code = "\n".join(line for line in script.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
        for name in re.findall(rf"\$\{{?({NAME})\b", code):
            readers.setdefault(name, set()).add(script.name)
            found.setdefault(name, Setting(name))
        for name, default in re.findall(rf"\$\{{({NAME}):-((?:\$\([^)]*\)|[^}}])+)\}}", code):
            shown = SHELL_DEFAULTS.get(default, f"`{default}`")
            if "$ETL_HOME" not in default and not found[name].default:
                found[name] = Setting(name, "text", shown)
    return found, readers


def reader_of(module: Path) -> str:
    """Return by which command a person knows this module."""
    parts = module.relative_to(PROJECT).with_suffix("").parts
    if parts[0] == "jobscripts":
        return module.name
    return READERS.get(".".join(parts[1:3]), READERS.get(parts[1], EVERY_JOB))


def readers() -> dict[str, set[str]]:
    """Return by the name of each setting which commands read it."""
    _, functions = python_settings()
    called: dict[str, set[str]] = {}
    found: dict[str, set[str]] = {}
    for module in [*(PROJECT / "systemscripts").rglob("*.py"), *(PROJECT / "jobscripts").glob("*.py")]:
        text = module.read_text(encoding="utf-8")
        for function in re.findall(r"\bsettings\.([a-z_]+)\(", text):
            called.setdefault(function, set()).add(reader_of(module))
        for name in re.findall(r'postgres_variable\("(\w+)"\)', text):
            found.setdefault(name, set()).add(reader_of(module))
    # A function of settings.py that only another one of it calls.
    settings = (PROJECT / "systemscripts/settings.py").read_text(encoding="utf-8")
    for name, readers_of_it in functions.items():
        for function in readers_of_it:
            found.setdefault(name, set()).update(called.get(function, set()))
            for caller, body in re.findall(r"^def (\w+)\(.*?\n(.*?)(?=^def |\Z)", settings, re.MULTILINE | re.DOTALL):
                if re.search(rf"(?<![\w.]){function}\(\)", body):
                    found[name].update(called.get(caller, set()))
    _, scripts = shell_settings()
    for name, names in scripts.items():
        for script in names:
            by = {"env.sh": EVERY_JOB, "backup.sh": READERS["backups"]}.get(script, script)
            found.setdefault(name, set()).add(by)
    return found


def all_settings() -> dict[str, Setting]:
    """Return every variable that the code reads."""
    found, _ = python_settings()
    for name, setting in shell_settings()[0].items():
        former = found.get(name, setting)
        found[name] = former if former.default or former.kind != "text" else setting
    for name in readers():
        found.setdefault(name, Setting(name))
    for helper in ("needs.py", "conftest.py"):
        text = (PROJECT / "tests" / helper).read_text(encoding="utf-8")
        for name in re.findall(r'os\.environ\.get\("(ETL_[A-Z_]+)"\)', text):
            found.setdefault(name, Setting(name))
    return {name: found[name] for name in found if not name.startswith("ETL_TEST_ROOT")}


def page() -> str:
    """Return the text of docs/settings.md; raises ValueError where the code and MEANINGS differ."""
    found = all_settings()
    explained = {name for section in MEANINGS.values() for name in section}
    if found.keys() != explained:
        raise ValueError(
            f"read and not explained: {sorted(found.keys() - explained)}; explained and not read: {sorted(explained - found.keys())}"
        )
    by_whom = readers()
    lines = [HEAD]
    for section, names in MEANINGS.items():
        lines += [f"## {section}", "", "| name | type | default | who reads it | meaning |", "|---|---|---|---|---|"]
        for name, meaning in names.items():
            setting = found[name]
            who = by_whom.get(name, {"the tests"}) or {EVERY_JOB}
            told = (
                EVERY_JOB
                if EVERY_JOB in who
                else ", ".join(sorted({one for group in who for one in group.split(", ")}))
            )
            default, kind = DATABASE_DEFAULTS.get(name, setting.default), SHELL_TYPES.get(name, setting.kind)
            lines.append(f"| `{name}` | {kind} | {default or '—'} | {USED_BY.get(name, told)} | {meaning} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
