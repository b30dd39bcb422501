"""Take the mail that waits in a mailbox: check it, keep it as it came, save its files, then label it.

The order makes it safe to kill a run: a row before a file, a file before a label. If a run leaves a
mail half done, the next run finds it by the mail's row and by the rows of its files.
"""

import functools
import hashlib
import logging
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from tqdm import tqdm

from systemscripts import directory_management, locks, settings
from systemscripts.arrivals import ledger, saving
from systemscripts.arrivals.ledger import Origin
from systemscripts.errors import TemporaryFailure
from systemscripts.inbox import answers
from systemscripts.inbox.mailbox import FoundMail, Mailbox, MailboxError, MailboxUnavailable, MailGone, NotWhole
from systemscripts.inbox.messages import KnownMail, Messages, Status
from systemscripts.inbox.mime import Envelope, MailFile, MailRefused, ParsedMail, header_envelope, parse_mail
from systemscripts.inbox.rules import InboxRule, Place, RuleError, fingerprint
from systemscripts.log_sinks.entries import storable

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)

_MESSAGE_ID = re.compile(r"<[^<>\s]+>")


class MailOutcome(NamedTuple):
    """The result of one wanted mail; `files` are the sender's names of the files."""

    mail: str
    rule: str
    status: str
    detail: str
    files: tuple[str, ...] = ()
    is_failure: bool = False


class WantedFile(NamedTuple):
    """A file of a mail, decoded."""

    name: str
    content: bytes


class _Share(NamedTuple):
    """The files of a mail that one rule takes."""

    rule: InboxRule
    files: list[WantedFile]


class _Visit(NamedTuple):
    """The data that a visit to one folder works with."""

    connection: "Connection"
    mailbox: Mailbox
    messages: Messages
    rules: list[InboxRule]
    dry_run: bool

    def mark(self, folders: Collection[str]) -> str:
        """Return the fingerprint of the rules for mail in these folders; other folders have other rules."""
        return fingerprint(rule for rule in self.rules if rule.folder.lower() in folders)


def take_mail(
    connection: "Connection", mailbox: Mailbox, place: Place, rules: list[InboxRule], dry_run: bool
) -> Iterator[MailOutcome]:
    """Yield the result of each waiting mail that a rule wants, oldest first.

    Raises TemporaryFailure if another run works on the same folder, if the mailbox stops answering, and, after all
    other mails are done, if some mails came incomplete.
    """
    labels = {label for rule in rules for label in (rule.processed_label, rule.error_label)}
    cut: list[str] = []
    visit = _Visit(connection, mailbox, Messages(connection, place), rules, dry_run)
    with locks.held(connection, f"etl inbox {place}") as is_ours:
        if not is_ours:
            raise TemporaryFailure(f"{place}: another run works on this mailbox")
        waiting = mailbox.waiting(labels)
        for problem in mailbox.problems:
            yield MailOutcome(str(place), "", "Left alone", problem, is_failure=True)
        if not dry_run:
            visit.messages.note_labels_seen(rules, list(waiting))
        known = visit.messages.known(list(waiting))
        # Mail that no rule wanted is looked at again only when the rules have changed.
        passed_over = {mail_id: row.rules for mail_id, row in known.items() if row.status == "Unmatched"}
        new = [
            mail_id
            for mail_id, folders in waiting.items()
            if mail_id not in passed_over or passed_over[mail_id] != visit.mark(folders)
        ]
        log.info("%s: %d mails, %d to look at", place, len(waiting), len(new), extra={"step": "find"})
        for mail_id in tqdm(new, unit="mail", disable=not settings.at_terminal()):
            try:
                outcome = _take(visit, mail_id, known.get(mail_id))
            except MailGone:
                continue
            except NotWhole as problem:
                cut.append(f"mail {mail_id}: {problem}")
                log.warning("%s: %s; it is left as it is", place, cut[-1], extra={"step": "mail"})
                continue
            if outcome is not None:
                yield outcome
    if cut:
        raise MailboxUnavailable(
            f"{place} sent {len(cut)} mails incomplete; the next run asks for them again; {cut[-1]}"
        )


def _take(visit: _Visit, mail_id: str, known: KnownMail | None) -> MailOutcome | None:
    """Take one mail; return None if no rule wants it."""
    if known is not None and known.label is not None and not known.is_labelled:
        return _label_at_last(visit, mail_id, known)
    mail = visit.mailbox.look_at(mail_id)
    if known is not None and known.is_labelled and not visit.dry_run:
        visit.messages.retire(mail_id)
        known = None
    wanting = [rule for rule in visit.rules if _is_wanted(rule, mail.envelope, mail)]
    raw = b""
    shares: list[_Share] = []
    try:
        if wanting:
            size, most = mail.envelope.size, settings.inbox_max_mb()
            if size > most << 20:
                raise MailRefused(f"it has {size:,} bytes, but ETL_INBOX_MAX_MB allows {most} MiB")
            raw = _raw(visit, mail)
            shares = _shares(wanting, parse_mail(raw), mail)
    except MailRefused as refusal:
        return _refuse(visit, mail, wanting[0], str(refusal))
    if not shares:
        if wanting:
            text = "%s fits %s, but no file in it has a name that fits; the mail is left as it is"
            log.warning(text, _named(mail), wanting[0].label, extra={"step": "mail"})
        if not visit.dry_run:
            visit.messages.pass_over(mail.id, visit.mark(mail.folders))
        return None
    if visit.dry_run:
        names = tuple(file.name for share in shares for file in share.files)
        return MailOutcome(_named(mail), shares[0].rule.config_name, "Would be taken", f"{len(names)} files", names)
    return _save(visit, mail, shares, raw, known)


def _raw(visit: _Visit, mail: FoundMail) -> bytes:
    """Return the mail as it came; if it is another mail or incomplete, ask once more, then raise NotWhole."""
    try:
        return _of_that_mail(visit.mailbox.content(mail.id), mail)
    except NotWhole as problem:
        log.info("%s: %s; asked again", _named(mail), problem, extra={"step": "mail"})
    return _of_that_mail(visit.mailbox.content(mail.id), mail)


def _of_that_mail(raw: bytes, mail: FoundMail) -> bytes:
    told, came = (_MESSAGE_ID.search(text) for text in (mail.envelope.message_id, header_envelope(raw).message_id))
    # A proxy may have sent a page of its own in place of the mail. A header below a broken line is no header for Python.
    if told and not came and told[0].encode() not in raw:
        raise NotWhole(f"the mailbox sent something without the mail's Message-ID {told[0][:200]}")
    if told and came and told[0] != came[0]:
        raise NotWhole(f"the mailbox sent the content of another mail, with Message-ID {came[0][:200]}")
    return raw


def _is_wanted(rule: InboxRule, envelope: Envelope, mail: FoundMail) -> bool:
    """Return whether the rule wants the mail; a pattern that takes too long counts as no, with one warning."""
    try:
        return rule.wants(envelope, mail.received_at, mail.folders)
    except RuleError as problem:
        log.warning("%s; the mail %s is not taken by it", problem, _named(mail), extra={"step": "mail"})
        return False


def _is_picked(rule: InboxRule, file: MailFile, mail: FoundMail) -> bool:
    try:
        return rule.picks(file.name)
    except RuleError as problem:
        log.warning("%s; a file of %s is not taken by it", problem, _named(mail), extra={"step": "mail"})
        return False


def _shares(wanting: list[InboxRule], parsed: ParsedMail, mail: FoundMail) -> list[_Share]:
    """Give each file to the first rule that picks it; a rule that wants only mail with files drops out if it gets none.

    Raises MailRefused if a wanted part is wrong; the rest of a mail does not matter.
    """
    left = list(parsed.files)
    shares = []
    for rule in wanting:
        # The whole mail decides, because the mailbox may read its headers in another way.
        if not _is_wanted(rule, parsed.envelope, mail):
            continue
        fitting = [file for file in parsed.files if _is_picked(rule, file, mail)]
        picked = [file for file in fitting if file in left]
        if len(picked) < len(fitting):
            text = "%s: %d files fit %s too, which does not get them: a file goes to the first rule that it fits"
            log.info(text, _named(mail), len(fitting) - len(picked), rule.label, extra={"step": "mail"})
        if picked or not rule.has_attachment:
            left = [file for file in left if file not in picked]
            shares.append(_Share(rule, [WantedFile(file.name, file.content()) for file in picked]))
    if sum(len(share.files) for share in shares) > settings.inbox_max_files():
        raise MailRefused(f"it has more than {settings.inbox_max_files()} files that are wanted (ETL_INBOX_MAX_FILES)")
    if parsed.damage:  # nobody can tell what the damaged mail contained besides this
        raise MailRefused(parsed.damage)
    return shares


# ---- a mail that is wanted -----------------------------------------------------------------


def _save(visit: _Visit, mail: FoundMail, shares: list[_Share], raw: bytes, known: KnownMail | None) -> MailOutcome:
    first, names = shares[0].rule, tuple(file.name for share in shares for file in share.files)
    eml, sha256 = _eml_path(mail, first, raw), hashlib.sha256(raw).hexdigest()
    try:
        visit.mailbox.make_label(first.processed_label)
        message_id = visit.messages.open(mail, first, sha256, eml, answers.refused_answer(first, mail.envelope))
        _keep(eml, raw)
        states = _save_files(visit, message_id, shares)
    except (OSError, MailboxError) as problem:
        return _left_alone(mail, first, problem)
    status, reason = _status_of(states, shares)
    if status == "Waiting":
        visit.messages.finish(message_id, status, reason, None)
        return MailOutcome(_named(mail), first.config_name, status, str(reason), names, bool(known and known.is_old))
    _finish(visit, mail.id, message_id, status, None, first.processed_label)
    return MailOutcome(_named(mail), first.config_name, status, f"{len(names)} files", names)


def _save_files(visit: _Visit, message_id: int, shares: list[_Share]) -> list[tuple[WantedFile, str]]:
    """Put each file into its rule's directory; continue with the rows that an earlier run wrote."""
    origin = Origin("messageid", message_id)
    rows = ledger.files_of(visit.connection, origin)
    states: list[tuple[WantedFile, str]] = []
    for rule, files in shares:
        for file in files:
            sha256 = hashlib.sha256(file.content).hexdigest()
            own = [
                row for row in rows
                if (row.name, row.sha256, row.directory) == (storable(file.name), sha256, rule.directory)
            ]  # fmt: skip
            row = own[0] if own else ledger.record(
                visit.connection, origin, file.name, rule.directory, len(file.content), sha256
            )  # fmt: skip
            rows = [other for other in rows if other is not row]
            states.append((file, saving.put(visit.connection, row, functools.partial(_write, file.content))))
    return states


def _write(content: bytes, stream: IO[bytes]) -> None:
    stream.write(content)


def _status_of(states: list[tuple[WantedFile, str]], shares: list[_Share]) -> tuple[Status, str | None]:
    waiting = [file.name for file, state in states if state == "Waiting"]
    if waiting:
        return "Waiting", (
            f"a file named {waiting[0]!r} is in {shares[0].rule.directory} already, and no import would see "
            "this one under another name; it is taken when the other file is gone"
        )
    if states and all(state == "Duplicate" for _, state in states):
        return "Duplicate", None
    return "Saved", None


def _refuse(visit: _Visit, mail: FoundMail, rule: InboxRule, reason: str) -> MailOutcome:
    """Refuse a mail: record the reason and keep the mail itself for a person, but save none of its files."""
    if visit.dry_run:
        return MailOutcome(_named(mail), rule.config_name, "Would be refused", reason)
    try:
        visit.mailbox.make_label(rule.error_label)
        is_small = mail.envelope.size <= settings.inbox_max_mb() << 20
        raw = _raw(visit, mail) if is_small else None
        if raw is not None:
            _keep(_eml_path(mail, rule, raw), raw)
    except (OSError, MailboxError) as problem:
        return _left_alone(mail, rule, problem)
    eml = None if raw is None else _eml_path(mail, rule, raw)
    sha256 = None if raw is None else hashlib.sha256(raw).hexdigest()
    message_id = visit.messages.open(mail, rule, sha256, eml, answers.refused_answer(rule, mail.envelope))
    _finish(visit, mail.id, message_id, "Failed", reason, rule.error_label)
    return MailOutcome(_named(mail), rule.config_name, "Failed", reason, is_failure=True)


def _left_alone(mail: FoundMail, rule: InboxRule, problem: OSError | MailboxError) -> MailOutcome:
    """Return the reason why a mail must wait for the next run."""
    told = f"{rule.label}: {problem}"
    if isinstance(problem, OSError):
        told = f"{rule.label}: {problem.filename or rule.local_repository_path} cannot be written: {problem.strerror or problem}"
    return MailOutcome(_named(mail), rule.config_name, "Left alone", told, is_failure=True)


def _finish(visit: _Visit, mail_id: str, message_id: int, status: Status, reason: str | None, label: str) -> None:
    """Commit the result of the mail, then label it; in the other order a crash would lose the result."""
    visit.messages.finish(message_id, status, reason, label)
    visit.mailbox.put_label(mail_id, label)
    visit.messages.note_label(message_id)


def _label_at_last(visit: _Visit, mail_id: str, known: KnownMail) -> MailOutcome | None:
    """Put the label on a mail that an earlier run finished but did not label."""
    if visit.dry_run or known.label is None:
        return None
    try:
        visit.mailbox.make_label(known.label)  # somebody may have deleted the label since
        visit.mailbox.put_label(mail_id, known.label)
    except MailboxError as problem:
        return MailOutcome(f"mail {mail_id}", "", "Left alone", str(problem), is_failure=True)
    visit.messages.note_label(known.id)
    return MailOutcome(f"mail {mail_id}", "", known.status, "labelled now; an earlier run could not do it")


# ---- small things --------------------------------------------------------------------------


def _eml_path(mail: FoundMail, rule: InboxRule, raw: bytes) -> Path:
    """Return the place of the original; it is the same for each try."""
    folder = settings.archive_dir() / "inbox" / directory_management.safe_name(rule.config_name)
    name = f"{mail.received_at:%Y%m%dT%H%M%S}_{hashlib.sha256(raw).hexdigest()[:16]}.eml"
    return folder / f"{mail.received_at:%Y-%m}" / name


def _keep(file: Path, raw: bytes) -> None:
    directory_management.ensure_directory(file.parent)
    with directory_management.new_file(file) as stream:
        stream.write(raw)


def _named(mail: FoundMail) -> str:
    """Return a name of the mail for a person."""
    return f"{mail.envelope.subject[:80]!r} of {mail.received_at.astimezone():%Y-%m-%d %H:%M}"
