"""All settings from the environment; no other module reads os.environ.

A setting is read when it is asked for, never at import, so that a job, a test and the shell's
env.sh can each set their own. A reader refuses a bad value and says what it expected.
A secret comes from NAME or from the file named by NAME_FILE; see `secret`.
"""

import contextlib
import functools
import os
import shlex
import stat
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from pathlib import Path

from systemscripts import known_secrets
from systemscripts.errors import JobError
from systemscripts.user_utils import current_user, home_directory

# Code that reads a secret here can also mask it with this module.
MASK, conceal, mask = known_secrets.MASK, known_secrets.conceal, known_secrets.mask

# A setting whose name ends like this holds a secret.
_SECRET_NAMES = ("PASSWORD", "_PASSPHRASE", "_SECRET", "_TOKEN", "_KEY", "_CREDENTIALS")
# The passwords of files, which have names of the operator's own.
_OF_FILES = "ETL_FILE_PASSWORD_"


class SettingError(JobError):
    """A setting has a value that cannot be used."""


class NotText(SettingError):
    """A file has bytes that are no text."""


# ---- typed readers -------------------------------------------------------------------------


def text(name: str, default: str = "") -> str:
    """Return the setting unchanged; an empty one counts as not set."""
    return os.environ.get(name) or default


def integer(name: str, default: int, minimum: int = 0, maximum: int | None = None) -> int:
    """Return a whole number between `minimum` and `maximum`, both included."""
    value = text(name)
    if not value:
        return default
    limits = f"from {minimum}" + (f" to {maximum}" if maximum is not None else " up")
    try:
        number = int(value)
    except ValueError:
        raise SettingError(f"{name} is {value!r}; it must be a whole number {limits}") from None
    if number < minimum or (maximum is not None and number > maximum):
        raise SettingError(f"{name} is {number}; it must be a whole number {limits}")
    return number


def seconds(name: str, default: float) -> float:
    """Return a duration in seconds, zero or more, fractions allowed."""
    value = text(name)
    if not value:
        return default
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise SettingError(f"{name} is {value!r}; it must be a number of seconds, zero or more")
    return number


def choice(name: str, allowed: Iterable[str], default: str) -> str:
    """Return one of the allowed words; upper and lower case are the same."""
    value = text(name, default).lower()
    words = tuple(allowed)
    if value not in words:
        raise SettingError(f"{name} is {value!r}; it must be one of {', '.join(words)}")
    return value


def switch(name: str, default: bool) -> bool:
    """Return True for 1/yes/true/on and False for 0/no/false/off."""
    value = text(name).lower()
    if not value:
        return default
    if value in ("1", "yes", "true", "on"):
        return True
    if value in ("0", "no", "false", "off"):
        return False
    raise SettingError(f"{name} is {value!r}; it must be yes or no")


def path(name: str, default: Path) -> Path:
    """Return an absolute path; `~` stands for the home directory, even if HOME is not set."""
    value = text(name)
    if not value:
        return default
    if value == "~" or value.startswith("~/"):
        value = home_directory() + value[1:]
    if not value.startswith("/") or "\n" in value:
        raise SettingError(f"{name} is {value!r}; it must be an absolute path")
    return Path(value)


def secret(name: str) -> str:
    """Return a secret from NAME or from the file in NAME_FILE, "" if neither is set.

    A file that others than its owner can read is refused. From then on the secret is masked in
    every log, mail and error (see `mask`).
    """
    value = text(name)
    file_name = text(f"{name}_FILE")
    if value and file_name:
        raise SettingError(f"{name} and {name}_FILE are both set; keep one of them")
    if file_name:
        value = secret_file(f"{name}_FILE", path(f"{name}_FILE", Path()))
    conceal(value)
    return value


def secret_file(setting: str, file: Path) -> str:
    """Return the content of a file of secrets; refuse a file that others than its owner can read. See also `conceal`."""
    try:
        mode = file.stat().st_mode
        content = file.read_text(encoding="utf-8")
    except PermissionError:
        told = f"{setting}: {file} cannot be read; it must be a file of this user"
        raise SettingError(
            f"{told}; type: sudo chown {current_user()} {shlex.quote(str(file))}; chmod 600 {shlex.quote(str(file))}"
        ) from None
    except OSError as error:
        raise SettingError(f"{setting}: {file} cannot be read: {error}") from None
    except UnicodeDecodeError as error:
        raise NotText(f"{setting}: {file} cannot be read: {error}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingError(f"{setting}: {file} can be read by others; type: chmod 600 {shlex.quote(str(file))}")
    return content.rstrip("\r\n")


def is_secret(name: str, value: str) -> bool:
    """Return whether the value of this setting must not be shown."""
    return name.endswith(_SECRET_NAMES) or mask(value) != value


def conceal_all() -> None:
    """Conceal every secret that a job on this machine may use, before it is asked for.

    These are: settings with a name such as ETL_EMAIL_PASSWORD, the contents of the file in NAME_FILE,
    the login files in user_config_dir, and libpq's passwords.
    """
    for name, value in os.environ.items():
        setting = name.removesuffix("_FILE")
        if not setting.endswith(_SECRET_NAMES) and not setting.startswith(_OF_FILES):
            continue
        if name.endswith("_FILE"):
            known_secrets.conceal_file(Path(value))
        elif len(value) >= known_secrets.SHORTEST:
            conceal(value)
    with contextlib.suppress(SettingError):
        conceal(ping_url())
    known_secrets.conceal_file(path("PGPASSFILE", Path(home_directory()) / ".pgpass"))
    for directory in (user_config_dir(), oauth_dir(), oauth_dir() / "rights", remotes_dir()):
        with contextlib.suppress(OSError):
            for file in directory.iterdir():
                if file.suffix in (".password", ".json", ".conf"):
                    known_secrets.conceal_file(file)


# ---- where things are ----------------------------------------------------------------------


@functools.cache
def has_short_command(places: str = "") -> bool:
    """Return whether the command `etl` on the PATH (or in these places) belongs to this installation."""
    for place in (places or os.environ.get("PATH", "")).split(":"):
        found = Path(place) / "etl"
        if place and os.path.isfile(found):  # noqa: PTH113 — says no also where it may not look
            return found.resolve() == project_dir() / "jobscripts" / "etl"
    return False


def project_dir() -> Path:
    """Return the checkout that contains this package."""
    return Path(__file__).resolve().parent.parent


def etl_home() -> Path:
    """Return the directory for data, logs and the embedded database."""
    return path("ETL_HOME", project_dir())


def logs_dir() -> Path:
    return path("ETL_LOGS_DIR", etl_home() / "logs")


def archive_dir() -> Path:
    return path("ETL_ARCHIVE_DIR", etl_home() / "archive")


def backup_dir() -> Path:
    return path("ETL_BACKUP_DIR", etl_home() / "backups")


def backup_copy_to() -> str:
    """Return the place for a copy of each backup, such as `rclone:offsite/bucket/backups`; "" if not set."""
    return text("ETL_BACKUP_COPY_TO")


def temporary_directory() -> Path:
    """Return the directory for large files of one command; /tmp may lie in memory."""
    return path("TMPDIR", Path("/var/tmp"))  # noqa: S108 — what is made there is private, and has a name that nobody knows


def page_file() -> Path:
    """Return where the status page is written."""
    return path("ETL_PAGE_FILE", logs_dir() / "status_page.html")


def page_copy() -> str:
    """Return the address that the status page is copied to, such as `sftp://user@host/page.html`; "" if not set."""
    return text("ETL_PAGE_COPY")


def config_file() -> Path | None:
    """Return the YAML file that the configuration's tables are kept equal to; None if not set."""
    return path("ETL_CONFIG_FILE", Path()) if text("ETL_CONFIG_FILE") else None


def file_watcher_dir() -> Path:
    return path("ETL_FILE_WATCHER_DIR", etl_home() / "file_watcher")


def site_file() -> Path:
    """Return the file of settings for all users of this machine, as jobs find it that cron starts."""
    return project_dir() / "site.env"


def user_config_dir() -> Path:
    """Return the directory for credentials and tokens, which is outside the checkout."""
    return Path(home_directory()) / ".config" / "client_etl_workflow"


def remotes_dir() -> Path:
    """Return the directory of the remotes: one file for each cloud that files come from or go to."""
    return path("ETL_REMOTES_DIR", user_config_dir() / "rclone")


# ---- this run ------------------------------------------------------------------------------


def now() -> datetime:
    """Return the time, aware and local, cut to the second; ETL_CLOCK replaces it in demonstrations and tests."""
    value = text("ETL_CLOCK")
    if not value:
        return datetime.now().astimezone().replace(microsecond=0)
    try:
        return datetime.fromisoformat(value).astimezone()
    except ValueError:
        raise SettingError(f"ETL_CLOCK is {value!r}; it must be a time such as 2026-03-02T05:00:00") from None


def is_clock_set() -> bool:
    """Return whether ETL_CLOCK replaces the machine's clock."""
    return bool(text("ETL_CLOCK"))


def time_zone() -> str | None:
    """Return TZ, which sets the local time of this process; None if it is not set."""
    return os.environ.get("TZ")


def host_name() -> str:
    return text("ETL_HOST", os.uname().nodename)


def run_uuid() -> str:
    """Return the uuid that the supervisor gave to this run, "" outside of a run."""
    return text("ETL_RUN_UUID")


def scheduled_at() -> datetime | None:
    """Return the slot that a schedule started this run for, None if a person or a chain started it."""
    value = text("ETL_SCHEDULED_AT")
    return datetime.fromisoformat(value) if value else None


def set_scheduled_at(slot: str) -> None:
    """Remember the slot, which the supervisor sends to this process at the gate."""
    os.environ["ETL_SCHEDULED_AT"] = slot


def gate_fd() -> int | None:
    """Return the descriptor of the supervisor's gate at the first call, None at later calls."""
    value = os.environ.pop("ETL_GATE_FD", "")
    return int(value) if value.isdigit() else None


def at_terminal() -> bool:
    """Return whether a person watches at a terminal; the supervisor tells the job, because its pipe hides the terminal."""
    return switch("ETL_TERMINAL", os.isatty(2))


def prints_to_terminal() -> bool:
    """Return whether standard output is a terminal, and no file or program; the supervisor tells the job."""
    return switch("ETL_PRINTS_TO_TERMINAL", os.isatty(1))


def child_environment(**changes: str) -> dict[str, str]:
    """Return the environment for a child process, with the given variables set."""
    return {**os.environ, **changes}


def environment_at(server: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a child process that uses the database of these libpq variables, and no others."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith("PG")}, **server}


# ---- database ------------------------------------------------------------------------------

# Any of these variables names a server; without them the jobs use the embedded one.
_SERVER_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE", "PGDATABASE", "PGUSER")


def names_a_server() -> bool:
    """Return whether libpq's own variables name a PostgreSQL server."""
    return any(text(name) for name in _SERVER_VARIABLES)


def postgres_variable(name: str) -> str:
    """Return one of libpq's own variables (PGHOST, PGSSLMODE, …), "" if not set."""
    return text(name)


def postgres_programs() -> Path | None:
    """Return the directory of PostgreSQL's programs, None for the bundled ones; a server newer than those needs it."""
    return path("ETL_PG_BINDIR", Path()) if text("ETL_PG_BINDIR") else None


# ---- MeetMax and the web -------------------------------------------------------------------


def meetmax_base_url() -> str:
    value = text("MEETMAX_BASE_URL", "https://www.meetmax.com").rstrip("/")
    if not value.startswith(("https://", "http://")):
        raise SettingError(f"MEETMAX_BASE_URL is {value!r}; it must begin with https:// or http://")
    if "@" in value.partition("//")[2].partition("/")[0]:
        raise SettingError(
            "MEETMAX_BASE_URL contains a user name or password, which would appear in every log and CSV; remove it"
        )
    return value


def user_agent() -> str:
    return text("ETL_USER_AGENT", "client-etl-workflow/1.0 (scheduled import; one request at a time)")


def request_interval() -> float:
    """Return the minimum number of seconds between two requests to one host."""
    return seconds("ETL_REQUEST_INTERVAL", 5.0)


def request_timeout() -> float:
    limit = seconds("ETL_REQUEST_TIMEOUT", 10.0)
    if not limit:
        raise SettingError("ETL_REQUEST_TIMEOUT is 0; it must be a number of seconds above zero")
    return limit


def request_retries() -> int:
    """Return how often a request is retried after a passing failure."""
    return integer("ETL_REQUEST_RETRIES", 3, maximum=20)


def refusals_allowed() -> int:
    """Return after how many failed requests in a row a run stops asking a host."""
    return integer("ETL_REFUSALS_ALLOWED", 5, minimum=1)


def obey_robots() -> bool:
    """Return whether a site's robots.txt is obeyed."""
    return switch("ETL_OBEY_ROBOTS", True)


# ---- cron ----------------------------------------------------------------------------------


def cron_file() -> Path:
    return path("ETL_CRON_FILE", Path("/etc/cron.d/etl_jobs"))


def cron_file_program() -> Path:
    """Return the helper program that writes the cron file as root; configure_etl_user.sh installs it."""
    return path("ETL_LIB_DIR", Path("/usr/local/lib/client_etl_workflow")) / "write_cron_file"


def cron_user() -> str:
    return text("ETL_CRON_USER", "etl_user")


# ---- files ---------------------------------------------------------------------------------


def settle_seconds() -> float:
    """Return for how many seconds a file must not have changed before it counts as whole."""
    return seconds("ETL_SETTLE_SECONDS", 10.0)


def spreadsheet_memory_mb() -> int:
    """Return how many MiB of memory reading one spreadsheet may take."""
    return integer("ETL_SPREADSHEET_MEMORY_MB", 1024, minimum=256)


def spreadsheet_seconds() -> int:
    """Return how long reading one spreadsheet may take, in seconds."""
    return integer("ETL_SPREADSHEET_SECONDS", 300, minimum=1)


def spreadsheet_max_cells() -> int:
    """Return how many cells one sheet may have, counting the empty ones in between."""
    return integer("ETL_SPREADSHEET_MAX_CELLS", 50_000_000, minimum=1)


def spreadsheet_max_mb() -> int:
    """Return how many MiB an unpacked workbook, or its CSV, may have."""
    return integer("ETL_SPREADSHEET_MAX_MB", 2048, minimum=1)


def spreadsheet_max_ratio() -> int:
    """Return how many times larger a workbook may become when unpacked: real sheets reach 50, harmful archives 1,000."""
    return integer("ETL_SPREADSHEET_MAX_RATIO", 250, minimum=1)


def unpacked_max_mb() -> int:
    """Return how many MiB a compressed file, or the files of one archive, may have when unpacked."""
    return integer("ETL_UNPACKED_MAX_MB", 4096, minimum=1)


def unpacked_max_ratio() -> int:
    """Return how many times its size a packed file may become when unpacked."""
    return integer("ETL_UNPACKED_MAX_RATIO", 250, minimum=1)


def file_password(name: str) -> str:
    """Return the password of the files of an import, which its password_name names."""
    value = secret(f"{_OF_FILES}{name}")
    if not value:
        raise SettingError(
            f"password_name is {name!r}, but there is no such password; write {_OF_FILES}{name}=… into "
            f"{user_config_dir() / 'secrets.env'}"
        )
    return value


def csv_max_record_mb() -> int:
    """Return how many MiB one record of a CSV may have if records are read one by one, because it is all in memory."""
    return integer("ETL_CSV_MAX_RECORD_MB", 32, minimum=1)


# ---- mail ----------------------------------------------------------------------------------


def email_address() -> str:
    """Return the address that mail is sent from."""
    return text("ETL_EMAIL")


def alert_email() -> str:
    """Return the address for failures, and for reports that have no recipients yet."""
    return text("ETL_ALERT_EMAIL", email_address())


def quiet_hours() -> tuple[time, time] | None:
    """Return from when until when only urgent alerts are mailed, by the clock on the wall; None if there are no quiet hours."""
    value = text("ETL_QUIET_HOURS")
    if not value:
        return None
    try:
        begin, end = (time.fromisoformat(word.strip()) for word in value.split("-"))
    except ValueError:
        begin = end = time()
    if begin == end or begin.tzinfo or end.tzinfo:
        raise SettingError(f"ETL_QUIET_HOURS is {value!r}; it must be two times of a day, such as 22:00-06:30")
    return begin, end


def ping_url() -> str:
    """Return the URL that each check of the schedule calls at its end, for a watch from outside; "" if not set."""
    return _web_address("ETL_PING_URL", text("ETL_PING_URL"))


def page_url() -> str:
    """Return the URL at which others see the status page, for the links of mails; "" if not set."""
    value = _web_address("ETL_PAGE_URL", text("ETL_PAGE_URL"))
    if not value.isprintable() or set(value) & set(" #<>\"'"):
        raise SettingError(
            f"ETL_PAGE_URL is {value!r}; it must be an address without blanks, quotes and #, such as https://host/status_page.html"
        )
    return value


def _web_address(name: str, value: str) -> str:
    if value and not value.startswith(("https://", "http://")):
        raise SettingError(f"{name} must begin with https:// or http://")
    return value


# The kinds of protection of the connection, each with its usual port.
_SMTP_PORTS = {"ssl": 465, "starttls": 587, "none": 25}


def smtp_host() -> str:
    return text("SMTP_HOST", "smtp.gmail.com")


def smtp_security() -> str:
    """Return `ssl` (TLS from the start), `starttls`, or `none`; `none` is allowed only for a server on this machine."""
    security = choice("SMTP_SECURITY", _SMTP_PORTS, "ssl")
    if security == "none" and not _is_this_machine(smtp_host()):
        raise SettingError(
            f"SMTP_SECURITY is none and SMTP_HOST is {smtp_host()!r}, which is another machine; set SMTP_SECURITY to ssl or starttls"
        )
    return security


def smtp_port() -> int:
    return integer("SMTP_PORT", _SMTP_PORTS[smtp_security()], minimum=1, maximum=65_535)


def smtp_timeout() -> float:
    """Return how many seconds the mail server may be silent."""
    limit = seconds("SMTP_TIMEOUT", 60.0)
    if limit == 0:
        raise SettingError("SMTP_TIMEOUT is 0; it must be a number of seconds above zero")
    return limit


def smtp_auth() -> str:
    """Return how mail is sent: by SMTP with a `password` or a token (`oauth:microsoft`), or by Microsoft's `graph`."""
    value = text("ETL_SMTP_AUTH", "password").lower()
    name = value.removeprefix("oauth:")
    is_name = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    if value not in ("password", "graph") and (name == value or not is_name):
        raise SettingError(
            f"ETL_SMTP_AUTH is {value!r}; it must be password, graph, or oauth: and the name of a provider, such as oauth:microsoft"
        )
    return value


def email_password() -> str:
    """Return the password for ETL_EMAIL at the mail server, "" if the server needs none."""
    return secret("ETL_EMAIL_PASSWORD")


def _is_this_machine(host: str) -> bool:
    import ipaddress

    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# ---- rights to mailboxes without a password ------------------------------------------------


def oauth_dir() -> Path:
    """Return the directory of the files NAME.json that describe providers; its folder `rights` has the rights."""
    return path("ETL_OAUTH_DIR", user_config_dir() / "oauth")


def microsoft_client_id() -> str:
    """Return the Application (client) ID from the registration of this program at Microsoft, "" if there is none."""
    value = text("ETL_MICROSOFT_CLIENT_ID")
    if value and not (value.isascii() and value.replace("-", "x").isalnum()):
        raise SettingError(
            f"ETL_MICROSOFT_CLIENT_ID is {value!r}; it must be the Application (client) ID of the registration, such as "
            "11111111-2222-3333-4444-555555555555"
        )
    return value


def microsoft_tenant() -> str:
    """Return the tenant: its id, its domain, or `organizations`, which is for a person of any tenant."""
    value = text("ETL_MICROSOFT_TENANT", "organizations")
    if not value[0].isalnum() or not value.isascii() or not value.replace(".", "x").replace("-", "x").isalnum():
        raise SettingError(f"ETL_MICROSOFT_TENANT is {value!r}; it must be the id of a tenant, or its domain")
    return value


def microsoft_client_secret() -> str:
    """Return the secret with which this program logs in for itself, "" if a person has granted access."""
    return secret("ETL_MICROSOFT_CLIENT_SECRET")


def microsoft_client_secret_ends() -> date | None:
    """Return the day on which that secret ends; Microsoft shows it only when the secret is made."""
    value = text("ETL_MICROSOFT_CLIENT_SECRET_ENDS")
    try:
        return date.fromisoformat(value) if value else None
    except ValueError:
        raise SettingError(
            f"ETL_MICROSOFT_CLIENT_SECRET_ENDS is {value!r}; it must be a day such as 2027-05-31"
        ) from None


def microsoft_certificate() -> Path | None:
    """Return the file with the private key and the certificate with which this program logs in for itself."""
    return path("ETL_MICROSOFT_CERTIFICATE", Path()) if text("ETL_MICROSOFT_CERTIFICATE") else None


# ---- the inbox -----------------------------------------------------------------------------


def gmail_credentials_file() -> Path:
    """Return the file that identifies this program to Google: systemscripts/credentials.json, filled in."""
    return path("GMAIL_CREDENTIALS_FILE", user_config_dir() / "credentials.json")


def gmail_token_file(account: str) -> Path:
    """Return the file with the access to a mailbox; gmail_api.sh writes it."""
    return path("GMAIL_TOKEN_FILE", user_config_dir() / f"gmail_token_{account}.json")


def gmail_api_endpoint() -> str:
    """Return the address of Gmail's API, "" for Google's own; without TLS it must be on this machine."""
    return secure_address("GMAIL_API_ENDPOINT", text("GMAIL_API_ENDPOINT"))


def secure_address(name: str, value: str) -> str:
    """Return a web address, or ""; without TLS it must be on this machine."""
    if value and not value.startswith("https://"):
        host = value.removeprefix("http://").partition("/")[0].rpartition(":")[0]
        if not value.startswith("http://") or not _is_this_machine(host):
            raise SettingError(f"{name} is {value!r}; it must begin with https://")
    return value


def imap_exact_sizes() -> bool:
    """Return whether a mail must have exactly the size that its IMAP server states (RFC 3501: RFC822.SIZE is exact)."""
    return switch("ETL_IMAP_EXACT_SIZES", True)


def imap_password(account: str) -> str:
    """Return the password of an IMAP mailbox: ETL_IMAP_PASSWORD, or the file imap_<account>.password."""
    value = secret("ETL_IMAP_PASSWORD")
    file = user_config_dir() / f"imap_{account}.password"
    if not value and file.exists():
        value = secret_file("the password of the mailbox", file)
        conceal(value)
    if not value:
        raise SettingError(
            f"there is no password for the mailbox {account}; write it into {file} and type: chmod 600 {shlex.quote(str(file))}"
        )
    return value


def mailbox_timeout() -> float:
    """Return how many seconds a mailbox's server may be silent."""
    limit = seconds("ETL_MAILBOX_TIMEOUT", 60.0)
    if not limit:
        raise SettingError("ETL_MAILBOX_TIMEOUT is 0; it must be a number of seconds above zero")
    return limit


def inbox_max_mb() -> int:
    """Return how many MiB one mail may have."""
    return integer("ETL_INBOX_MAX_MB", 50, minimum=1)


def inbox_max_files() -> int:
    """Return how many files one mail may have."""
    return integer("ETL_INBOX_MAX_FILES", 100, minimum=1)


# ---- reports -------------------------------------------------------------------------------


def report_rows() -> int:
    """Return how many rows one attachment of a report may have."""
    return integer("ETL_REPORT_ROWS", 100_000, minimum=1, maximum=1_048_575)


# ---- SFTP ---


def sftp_settle_seconds() -> float:
    """Return for how many seconds a file in an SFTP folder must not have changed before it is taken."""
    return seconds("ETL_SFTP_SETTLE_SECONDS", 60.0)


def sftp_max_mb() -> int:
    """Return how many MiB one file that comes by SFTP may have."""
    return integer("ETL_SFTP_MAX_MB", 2048, minimum=1)


def sftp_timeout() -> float:
    """Return how many seconds a remote SFTP server may be silent."""
    limit = seconds("ETL_SFTP_TIMEOUT", 60.0)
    if not limit:
        raise SettingError("ETL_SFTP_TIMEOUT is 0; it must be a number of seconds above zero")
    return limit


def cloud_timeout() -> float:
    """Return how many seconds a cloud may be silent."""
    limit = seconds("ETL_CLOUD_TIMEOUT", 60.0)
    if not limit:
        raise SettingError("ETL_CLOUD_TIMEOUT is 0; it must be a number of seconds above zero")
    return limit


def cloud_environment() -> dict[str, str]:
    """Return those variables of the environment that rclone may know: the way to the network, and nothing secret of ours."""
    values = {
        "HTTPS_PROXY": text("HTTPS_PROXY"),
        "NO_PROXY": text("NO_PROXY"),
        "SSL_CERT_FILE": text("SSL_CERT_FILE"),
        "SSL_CERT_DIR": text("SSL_CERT_DIR"),
    }
    return {name: value for name, value in values.items() if value}


def sftp_release_program() -> Path:
    """Return the helper program that a client's own user runs; setup_sftp.sh installs it."""
    return path("ETL_LIB_DIR", Path("/usr/local/lib/client_etl_workflow")) / "sftp_release"


def sftp_known_hosts() -> list[Path]:
    """Return the files with the known servers' keys, the project's own last; ETL_SFTP_KNOWN_HOSTS replaces them."""
    if text("ETL_SFTP_KNOWN_HOSTS"):
        return [path("ETL_SFTP_KNOWN_HOSTS", Path())]
    return [Path(home_directory()) / ".ssh" / "known_hosts", user_config_dir() / "known_hosts"]


def sftp_password(config_name: str) -> str:
    """Return the password for a remote server from the file sftp_<config_name>.password, "" if there is none."""
    if "/" in config_name or "\0" in config_name:
        raise SettingError(
            f"the row {config_name!r} of dba.texchangeconfig: this config_name cannot be part of the name of a password file"
        )
    file = user_config_dir() / f"sftp_{config_name}.password"
    if not file.exists():
        return ""
    value = secret_file(f"the password of {config_name}", file)
    conceal(value)
    return value
