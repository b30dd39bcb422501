"""The secrets that this process knows, and the masking that keeps them out of its output."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MASK = "****"
# A shorter value is masked only if it was asked for as a secret: masking it everywhere would garble words.
SHORTEST = 6

# As the shell writes it with printf %q and with `set -x`.
_QUOTED_BY_BASH = frozenset(" \t!\"#$&'()*,;<=>?[\\]^`{|}~") - frozenset("=#~")

# The secret fields in Google's JSON files.
_SECRET_FIELDS = ("token", "access_token", "refresh_token", "client_secret", "private_key")

# Settings of a remote in a file of rclone's that may be shown; all others are taken for secrets.
_SHOWN_OF_A_REMOTE = frozenset([
    "type", "provider", "region", "endpoint", "location_constraint", "acl", "server_side_encryption", "storage_class", "env_auth",
    "force_path_style", "account", "use_msi", "tenant", "project_number", "object_acl", "bucket_acl", "location", "url", "vendor",
    "user", "drive_id", "drive_type", "scope", "root_folder_id", "team_drive", "description", "service_account_file", "client_id",
    "access_key_id",
])  # fmt: skip

# Both are sorted longest first, because one secret may begin with another.
_texts: list[str] = []
_bytes: list[bytes] = []


def conceal(value: str) -> None:
    """Let `mask` and `Veil` remove this secret from now on, also in its encoded forms (_forms)."""
    if not value or value in _texts:
        return
    lines = [line for line in value.splitlines() if len(line) >= SHORTEST]
    forms = {value, *lines}
    for text in [*lines, value]:
        forms |= _forms(text)
    _texts[:] = sorted(forms.union(_texts), key=lambda text: (-len(text), text))
    # Each line is a secret of its own, because a stream is masked line by line.
    _bytes[:] = [text.encode("utf-8", "surrogateescape") for text in _texts if "\n" not in text]


def conceal_file(file: Path) -> None:
    """Conceal the secrets in a file: of JSON, a .pgpass or a remote its secret fields, or all of it; skip an unreadable file."""
    with contextlib.suppress(OSError, UnicodeDecodeError, ValueError):
        for secret in _secrets_in(file):
            if len(secret) >= SHORTEST:
                conceal(secret)


def mask(text: str) -> str:
    """Return the text with every known secret replaced by ****."""
    for value in _texts:
        if value in text:
            text = text.replace(value, MASK)
    return text


class Veil:
    """Masks a stream that comes in pieces; an end that may be the beginning of a secret waits for the next piece."""

    def __init__(self) -> None:
        self._held = b""

    def pass_on(self, data: bytes) -> bytes:
        if not _bytes:
            return data
        data = self._held + data
        for value in _bytes:
            if value in data:
                data = data.replace(value, MASK.encode())
        end = min((_begins_at(value, data) for value in _bytes), default=len(data))
        self._held = data[end:]
        return data[:end]

    def rest(self) -> bytes:
        rest, self._held = self._held, b""
        return rest


def _begins_at(secret: bytes, data: bytes) -> int:
    """Return where a secret may begin at the end of the data; the data's length if none does."""
    start = max(len(data) - len(secret) + 1, 0)
    while (start := data.find(secret[:1], start)) != -1:
        if secret.startswith(data[start:]):
            return start
        start += 1
    return len(data)


def _secrets_in(file: Path) -> Iterator[str]:
    text = file.read_text(encoding="utf-8").rstrip("\r\n")
    if file.suffix == ".json":
        import json

        yield from _fields(json.loads(text))
    elif file.name.endswith("pgpass"):
        for line in text.splitlines():
            if line.count(":") >= 4 and not line.startswith("#"):
                password = line.replace("\\:", "\0").split(":", 4)[4]
                yield password.replace("\0", ":").replace("\\\\", "\\")
    elif file.suffix == ".conf":
        for line in text.splitlines():
            yield from _of_a_remote(line)
    else:
        yield text


def _of_a_remote(line: str) -> Iterator[str]:
    """Yield the secrets in one line of a remote's file: its value, and the fields of a token."""
    name, _, value = (part.strip() for part in line.partition("="))
    if name.lower() in _SHOWN_OF_A_REMOTE or not value:
        return
    yield value
    if value.startswith("{"):
        import json

        with contextlib.suppress(ValueError):
            yield from _fields(json.loads(value))


def _fields(found: Any) -> Iterator[str]:
    if isinstance(found, dict):
        for name, value in found.items():
            if name in _SECRET_FIELDS and isinstance(value, str):
                yield value
            yield from _fields(value)


def _forms(text: str) -> set[str]:
    """Return the text as it is written in a URL, a form, JSON, HTML, Python and a shell."""
    import json

    in_url = _in_url(text)
    in_html = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {
        in_url, in_url.replace("%20", "+"),
        json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1],
        in_html, in_html.replace('"', "&quot;").replace("'", "&#x27;"), in_html.replace('"', "&#34;").replace("'", "&#39;"),
        repr(text)[1:-1], repr("'" + text)[2:-1],
        *(text.replace("'", quote) for quote in ("'\"'\"'", "'\\''")),
        "".join(f"\\{character}" if character in _QUOTED_BY_BASH else character for character in text),
    }  # fmt: skip


def _in_url(text: str) -> str:
    """Return the text as it is written in a URL; importing urllib for this would take too long."""
    return "".join(
        character if character.isascii() and (character.isalnum() or character in "_.-~")
        else "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))
        for character in text
    )  # fmt: skip
