"""Fetches one event's company list, or takes the copy in the archive where the site says that nothing has changed."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from systemscripts import directory_management, settings
from systemscripts.sources.meetmax import EventFile, UnusableEvent, event_file, require_own_link
from systemscripts.sources.meetmax_file import CompanyFile, Vanished
from systemscripts.web_utils import Download, FetchError, ForbiddenByRobots, Refused, Validators, WebSession


@dataclass(frozen=True)
class Copy:
    """The last file that came from a link, in the archive."""

    validators: Validators
    sha256: str
    path: Path


@dataclass(frozen=True)
class Outcome:
    """What became of one event's file; `reason` is "" when we have it, `words` what came in place of a list that has vanished."""

    event: EventFile
    status: str
    reason: str = ""
    download: Download | None = None
    words: bytes = b""


def fetch_event(session: WebSession, event: EventFile, copy: Copy | None = None) -> Outcome:
    """Fetch one file; raises only TemporaryFailure, when the site has refused too often in a row."""
    try:
        target = event_file(settings.now(), event.event_id)
        require_own_link(event)
        content = content_of(copy)
        kept = copy.validators if copy and content else None
        download = session.download(event.link, target, CompanyFile(event.event_id), kept)
        if download is None:
            assert copy is not None, "only who has a copy asks whether it has changed"
            return Outcome(event, "Unchanged", download=_placed(event, target, content, copy.validators))
    except (Refused, ForbiddenByRobots) as refusal:
        return Outcome(event, "Refused", str(refusal))
    except Vanished as answer:
        return Outcome(event, "Vanished", str(answer), words=answer.words)
    except (FetchError, UnusableEvent, FileExistsError) as failure:
        return Outcome(event, "Failed", str(failure))
    return Outcome(event, "Downloaded", download=download)


def placed_as_empty(vanished: Outcome) -> Outcome:
    """Put the words where the list would have appeared: the import takes them for an empty one."""
    if not vanished.words:
        return vanished
    try:
        target = event_file(settings.now(), vanished.event.event_id)
        return replace(vanished, download=_placed(vanished.event, target, vanished.words, Validators()))
    except FileExistsError as failure:
        return replace(vanished, status="Failed", reason=str(failure))


def content_of(copy: Copy | None) -> bytes:
    """Return the copy's bytes, b"" where they are not what they were, or no longer there."""
    try:
        content = copy.path.read_bytes() if copy else b""
    except OSError:
        return b""
    return content if copy and hashlib.sha256(content).hexdigest() == copy.sha256 else b""


def _placed(event: EventFile, target: Path, content: bytes, validators: Validators) -> Download:
    with directory_management.new_file(target, replaces=False) as stream:
        stream.write(content)
    return Download(event.link, target, len(content), hashlib.sha256(content).hexdigest(), validators)
