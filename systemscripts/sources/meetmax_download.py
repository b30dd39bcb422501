"""Fetches one event's company list, or takes the copy in the archive where the site says that nothing has changed."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from systemscripts import directory_management, settings
from systemscripts.sources.meetmax import EventFile, UnusableEvent, event_file, require_own_link
from systemscripts.sources.meetmax_file import CompanyFile, Vanished, says_vanished
from systemscripts.web_utils import Download, FetchError, ForbiddenByRobots, Refused, Validators, WebSession


@dataclass(frozen=True)
class Copy:
    """The last file that came from a link, in the archive."""

    validators: Validators
    sha256: str
    path: Path


@dataclass(frozen=True)
class Outcome:
    """What became of one event's file; `reason` is "" when we have it."""

    event: EventFile
    status: str
    reason: str = ""
    download: Download | None = None


def fetch_event(session: WebSession, event: EventFile, copy: Copy | None = None) -> Outcome:
    """Fetch one file; raises only TemporaryFailure, when the site has refused too often in a row."""
    try:
        target = event_file(settings.now(), event.event_id)
        require_own_link(event)
        content = content_of(copy)
        kept = copy.validators if copy and content else None
        download = session.download(event.link, target, CompanyFile(event.event_id), kept)
        if download is None:
            return Outcome(event, "Unchanged", download=used_again(event, target, copy, content))
    except (Refused, ForbiddenByRobots) as refusal:
        return Outcome(event, "Refused", str(refusal))
    except Vanished as answer:
        return Outcome(event, "Vanished", str(answer))
    except (FetchError, UnusableEvent, FileExistsError) as failure:
        return Outcome(event, "Failed", str(failure))
    if has_vanished(download):
        return Outcome(event, "Vanished", "the site says Invalid Event ID in place of the list", download)
    return Outcome(event, "Downloaded", download=download)


def content_of(copy: Copy | None) -> bytes:
    """Return the copy's bytes, b"" where they are not what they were, or no longer there."""
    try:
        content = copy.path.read_bytes() if copy else b""
    except OSError:
        return b""
    return content if copy and hashlib.sha256(content).hexdigest() == copy.sha256 else b""


def used_again(event: EventFile, target: Path, copy: Copy | None, content: bytes) -> Download:
    """Put the copy where the file would have appeared: the list of today is the same as the last one."""
    assert copy is not None, "only who has a copy asks whether it has changed"
    with directory_management.new_file(target, replaces=False) as stream:
        stream.write(content)
    return Download(event.link, target, len(content), copy.sha256, copy.validators)


def has_vanished(download: Download) -> bool:
    return download.size < 1000 and says_vanished(download.head.decode("utf-8", "replace"))
