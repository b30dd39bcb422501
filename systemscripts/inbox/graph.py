"""A mailbox read through Microsoft Graph: a label is a folder that the mail is moved to, as by IMAP.

Ids are immutable: a mail keeps its id when it is moved.
https://learn.microsoft.com/en-us/graph/api/resources/message
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from systemscripts.inbox.mailbox import FoundMail, MailboxError, MailboxUnavailable, MailGone, NotWhole
from systemscripts.inbox.mime import envelope_of, header_envelope
from systemscripts.inbox.rules import Place
from systemscripts.mail.graph import Graph, GraphRefusal
from systemscripts.web.answers import FetchError
from systemscripts.web.api import Answer

PAGE = 500
_ROOT = "msgfolderroot"
_SIZE = "LONG 0x0E08"  # PidTagMessageSize
_WANTED = {
    "$select": "id,internetMessageHeaders,receivedDateTime",
    "$expand": f"singleValueExtendedProperties($filter=id eq '{_SIZE}')",
}


class GraphMailbox:
    """See mailbox.Mailbox."""

    def __init__(self, place: Place, graph: Graph) -> None:
        self._place = place
        self._graph = graph
        self._folders = frozenset([place.folders[0].lower()])
        self._ids: dict[str, str] = {}
        self.problems: list[str] = []
        self._folder = self._folder_id(place.folders[0])
        if not self._folder:
            raise MailboxError(f"{place}: there is no such folder; correct folder")

    def waiting(self, labels: Collection[str]) -> dict[str, frozenset[str]]:
        if any(label.lower() in self._folders for label in labels):
            raise MailboxError(
                f"{self._place}: mail of this folder cannot be moved to the folder itself; correct processed_label or error_label"
            )
        page = f"/mailFolders/{self._folder}/messages"
        asked = {"$select": "id", "$orderby": "receivedDateTime", "$top": str(PAGE)}
        return {str(mail["id"]): self._folders for mail in self._listed(page, asked)}

    def look_at(self, mail_id: str) -> FoundMail:
        found = self._of_mail("GET", mail_id, "", params=_WANTED).json()
        try:
            if found["id"] != mail_id:
                raise NotWhole(f"Microsoft Graph answers with the mail {str(found['id'])[:40]!r}, asked for {mail_id}")
            received_at = datetime.fromisoformat(found["receivedDateTime"])
            headers = [(str(one["name"]), str(one["value"])) for one in found.get("internetMessageHeaders") or []]
            sizes = [
                one["value"]
                for one in found.get("singleValueExtendedProperties") or []
                if one["id"].upper().startswith("LONG")
            ]
            size = int(sizes[0]) if sizes else 0
            # A mail that never travelled, such as one that a program put there, has them only in its content.
            envelope = envelope_of(headers, size) if headers else header_envelope(self.content(mail_id), size)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NotWhole(
                f"Microsoft Graph's answer about the mail {mail_id} cannot be understood: {error!r}"
            ) from None
        return FoundMail(mail_id, envelope, received_at, self._folders)

    def content(self, mail_id: str) -> bytes:
        content = self._of_mail("GET", mail_id, "/$value").content
        if not content:
            raise NotWhole("Microsoft Graph sent nothing of it")
        return content

    def make_label(self, label: str) -> None:
        self._folder_id(label, make=True)

    def put_label(self, mail_id: str, label: str) -> None:
        target = self._folder_id(label)
        if not target:
            raise MailboxUnavailable(f"the folder {label!r} of {self._place.account} was deleted a moment ago")
        moved = self._of_mail("POST", mail_id, "/move", json={"destinationId": target}).json()
        # A proxy may answer with a page of its own and status 200.
        if not moved.get("id"):
            raise MailboxUnavailable(f"Microsoft Graph does not say that the mail {mail_id} was moved")

    def _folder_id(self, name: str, make: bool = False) -> str:
        """Return the id of a folder, "" if it is not there; / separates its levels."""
        if name.lower() == "inbox":
            return "inbox"
        if name.lower() in self._ids:
            return self._ids[name.lower()]
        above = _ROOT
        for level in name.split("/"):
            within = f"/mailFolders/{above}/childFolders"
            quoted = level.replace("'", "''")
            found = self._listed(within, {"$filter": f"displayName eq '{quoted}'", "$select": "id"})
            if not found and make:
                try:
                    found = [self._ask("POST", within, json={"displayName": level}).json()]
                except GraphRefusal as refusal:
                    # Another run may have just made it.
                    found = self._listed(within, {"$filter": f"displayName eq '{quoted}'", "$select": "id"})
                    if not found:
                        told = f"{self._place} cannot have a folder {name!r}: {refusal}; choose another label"
                        raise MailboxError(told) from None
            if not found:
                return ""
            above = str(found[0].get("id"))
        self._ids[name.lower()] = above
        return above

    def _listed(self, path: str, asked: dict[str, str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        params: dict[str, str] | None = asked
        while path:
            try:
                answer = self._ask("GET", path, params=params).json()
            except GraphRefusal as refusal:
                raise MailboxError(f"Microsoft Graph refuses {self._place} ({refusal})") from None
            if not isinstance(answer.get("value"), list):
                raise MailboxUnavailable("Microsoft Graph's answer cannot be understood")
            found += answer["value"]
            path, params = str(answer.get("@odata.nextLink") or ""), None
            if path and not self._graph.is_here(path):
                raise MailboxUnavailable("Microsoft Graph names a next page at another address")
        return found

    def _of_mail(self, method: str, mail_id: str, what: str, **request: Any) -> Answer:
        try:
            return self._ask(method, f"/messages/{mail_id}{what}", **request)
        except GraphRefusal as refusal:
            if refusal.status == 404:
                raise MailGone(mail_id) from None
            raise MailboxError(f"Microsoft Graph refuses the request ({refusal})") from None

    def _ask(self, method: str, path: str, **request: Any) -> Answer:
        try:
            return self._graph.ask(method, path, **request)
        except FetchError as failure:
            raise MailboxUnavailable(f"Microsoft Graph does not answer for now ({failure})") from None


@contextmanager
def graph_mailbox(place: Place) -> Iterator[GraphMailbox]:
    graph = Graph(place.account)
    try:
        yield GraphMailbox(place, graph)
    finally:
        graph.close()
