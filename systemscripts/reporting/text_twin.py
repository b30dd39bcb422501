"""Convert HTML to plain text, for mail programs that show no HTML."""

import re
from html.parser import HTMLParser

_SILENT = {"head", "script", "style", "title"}
_PARAGRAPHS = {"blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "ol", "p", "pre", "table", "ul"}
_LINES = {"br", "div", "li", "section", "tr"}


def text_of(html: str) -> str:
    """Return the page's text with paragraphs and lists; `pre` keeps its columns, links show their address.

    Not inscriptis: it resolves entities twice, so that the text "&lt;" becomes "<", and returns nothing for
    tags more than 250 deep.
    """
    twin = _TextTwin()
    twin.feed(html)
    twin.close()
    text = "\n".join(line.rstrip() for line in twin.lines)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"


class _TextTwin(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[str] = [""]
        self._silent = self._pre = 0
        self._link = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in _SILENT
        self._pre += tag == "pre"
        self._break_at(tag)
        if tag == "li":
            self.lines[-1] = "- "
        elif tag in ("td", "th") and self.lines[-1]:
            self.lines[-1] += "  "
        elif tag == "hr":
            self.lines += ["-" * 40, ""]
        elif tag == "a":
            self._link = dict(attrs).get("href") or ""
        elif tag == "img":
            self.handle_data(dict(attrs).get("alt") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._link.startswith(("http", "mailto:")) and not self.lines[-1].endswith(self._link):
            self.lines[-1] += f" ({self._link})"
        if tag != "br":
            self._break_at(tag)
        self._silent = max(self._silent - (tag in _SILENT), 0)
        self._pre = max(self._pre - (tag == "pre"), 0)

    def handle_data(self, data: str) -> None:
        if self._silent:
            return
        if self._pre:
            first, *others = data.split("\n")
            self.lines[-1] += first
            self.lines += others
            return
        words = re.sub(r"\s+", " ", data)
        self.lines[-1] += words.lstrip() if self.lines[-1].endswith(" ") or not self.lines[-1] else words

    def _break_at(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            self.lines += ["", ""]
        elif tag in _LINES and (self.lines[-1] or tag == "br"):
            self.lines.append("")
