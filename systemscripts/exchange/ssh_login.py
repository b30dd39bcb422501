"""The login at a remote SFTP server with a known key, by the row's key, its password, or the user's own keys."""

import contextlib
import logging
import os
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Never

import paramiko
from paramiko import SSHClient

from systemscripts import settings
from systemscripts.deadlines import hung_up_after
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.exchange.config import ExchangeConfig
from systemscripts.exchange.sftp_client import Client

_NOTHING_TO_SHOW = "No authentication methods available"  # paramiko's words, in an exception of no own kind


class UnknownHost(JobError):
    """The server shows a key that was not compared with its owner's yet."""


@contextlib.contextmanager
def logged_in(config: ExchangeConfig) -> "Iterator[Client]":
    """Yield a client for the server; raises JobError if it refuses us or is not known, TemporaryFailure if it is down."""
    # paramiko logs every step, and each error with a traceback; the important ones are also raised, and we report them.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    with paramiko.SSHClient() as client:
        for file in settings.sftp_known_hosts():
            if file.exists():
                client.load_system_host_keys(str(file))
        client.set_missing_host_key_policy(_Refuse(config))
        _connect(client, config)
        yield _subsystem(client, config)


def _subsystem(client: "SSHClient", config: ExchangeConfig) -> "Client":
    """Return the connection's SFTP client; from now on the server may be silent for ETL_SFTP_TIMEOUT at most.

    Its first answer may take at most ten times as long.
    """
    limit = settings.sftp_timeout()
    transport = client.get_transport()
    assert transport is not None
    try:
        channel = transport.open_session(timeout=limit)
        channel.settimeout(limit)
        with hung_up_after(10 * limit, transport.close):
            channel.invoke_subsystem("sftp")
            return Client(channel)
    except TimeoutError:
        raise TemporaryFailure(f"{_server(config)} took the login and then said nothing for {limit:g} s") from None
    except (paramiko.SSHException, paramiko.SFTPError, EOFError, OSError) as error:
        raise JobError(
            f"{_server(config)} gives no SFTP ({str(error) or type(error).__name__}); its owner must check that the login "
            "prints nothing and that SFTP is allowed"
        ) from None


def _connect(client: "SSHClient", config: ExchangeConfig) -> None:
    limit = settings.sftp_timeout()
    try:
        client.connect(
            config.host or "", config.port, config.username, timeout=limit, banner_timeout=limit, auth_timeout=limit,
            channel_timeout=limit, allow_agent=False, **_credentials(config),
        )  # fmt: skip
    except paramiko.BadHostKeyException as error:
        _refuse_changed(config, error.key.fingerprint)
    except paramiko.PasswordRequiredException:
        raise JobError(f"the key {config.key_file} has a passphrase, which a job cannot type") from None
    except (paramiko.AuthenticationException, paramiko.ssh_exception.NoValidConnectionsError) as error:
        if isinstance(error, OSError):
            raise TemporaryFailure(f"{_server(config)} cannot be reached: {error}") from None
        raise _refused(config, "refuses the login") from None
    except (paramiko.SSHException, EOFError, OSError) as error:
        if str(error) == _NOTHING_TO_SHOW:
            raise _refused(config, "was shown neither a key nor a password for the login") from None
        raise TemporaryFailure(f"{_server(config)} cannot be reached: {str(error) or type(error).__name__}") from None


def _refused(config: ExchangeConfig, what: str) -> JobError:
    return JobError(
        f"{_server(config)} {what} as {config.username}; check {config.key_setting},"
        f" or the password in {settings.user_config_dir()}/sftp_{config.config_name}.password"
    )


def _credentials(config: ExchangeConfig) -> dict[str, Any]:
    if config.key_file:
        try:
            with open(config.key_file, "rb") as key:
                mode = os.fstat(key.fileno()).st_mode
        except OSError as error:
            raise JobError(f"the key {config.key_file} cannot be read: {error.strerror}") from None
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            cure = f"chmod 600 {shlex.quote(config.key_file)}"
            raise JobError(f"the key {config.key_file} can be read by others; type: {cure}")
        return {"key_filename": config.key_file, "look_for_keys": False}
    password = settings.sftp_password(config.config_name)
    return {"password": password or None, "look_for_keys": not password}


@dataclass(frozen=True)
class _Refuse:
    """paramiko's policy for a server with an unknown key: refuse it."""

    config: ExchangeConfig

    def missing_host_key(self, _client: object, _name: str, key: Any) -> Never:
        own = settings.sftp_known_hosts()[-1]
        raise UnknownHost(
            f"{_server(self.config)} shows a key that is not known here, {key.fingerprint}; compare the fingerprint with"
            f" the owner's, and if it is the same type: {_scan(self.config, key.get_name())} >> {shlex.quote(str(own))}"
        )


def _refuse_changed(config: ExchangeConfig, fingerprint: str) -> Never:
    name = shlex.quote(config.host if config.port == 22 and config.host else f"[{config.host}]:{config.port}")
    own = shlex.quote(str(settings.sftp_known_hosts()[-1]))
    files = [shlex.quote(str(file)) for file in settings.sftp_known_hosts() if file.exists()]
    forget = "; ".join(f"ssh-keygen -R {name} -f {file}" for file in files)
    raise UnknownHost(
        f"{_server(config)} shows another key than before, {fingerprint}: it is another server, or an attacker is in between;"
        f" compare the fingerprint with the owner's, and if it is the same type: {forget}; {_scan(config)} >> {own}"
    )


def _scan(config: ExchangeConfig, kind: str = "ssh-ed25519") -> str:
    family = "ed25519" if "ed25519" in kind else "ecdsa" if kind.startswith("ecdsa") else "rsa"
    return f"ssh-keyscan -p {config.port} -t {family} {shlex.quote(config.host or '')}"


def _server(config: ExchangeConfig) -> str:
    return f"the server {config.host}:{config.port}"
