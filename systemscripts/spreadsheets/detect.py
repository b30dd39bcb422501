"""Detect the kind of a file by its bytes; the name does not matter."""

import re
from typing import BinaryIO

from systemscripts.spreadsheets.model import Refused

HEAD_BYTES = 1 << 16

OLE2, ZIP, BIFF, HTML, XML_2003, TEXT = "OLE2", "zip", "raw BIFF", "HTML", "SpreadsheetML 2003", "text"

_OLE2_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_NOT_A_SPREADSHEET = (
    (b"%PDF", "a PDF document"),
    (b"{\\rtf", "a rich text (RTF) document"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"GIF8", "a picture (GIF)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"\x1f\x8b", "compressed with gzip; unpack it first"),
    (b"7z\xbc\xaf", "a 7-Zip archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"ID;P", "a SYLK file (.slk), which is not read; save it as .xlsx or CSV"),
    (b"\x00\x00\x02\x00", "a Lotus 1-2-3 or Quattro Pro sheet, which is not read; save it as .xlsx or CSV"),
    (b"\x00\x00\x1a\x00", "a Lotus 1-2-3 sheet, which is not read; save it as .xlsx or CSV"),
    (b"\x01\xda\xff\xff", "damaged, or no spreadsheet"),
)
_DIF = re.compile(rb"TABLE\r?\n0,1\r?\n")
_WEB_ARCHIVE = re.compile(rb"(?:^|\n)MIME-Version:", re.IGNORECASE)
# A BOF record of BIFF2, 3, 4 and 5, which need no container.
_RAW_BIFF = re.compile(rb"\x09[\x00\x02\x04\x08][\x04-\x10]\x00")
_HTML = re.compile(
    r"<(?:!doctype\s+html|html|head|body|meta|title|style|script|table|thead|tbody|tr|td|div|center|font|p|br|h[1-6])\b",
    re.IGNORECASE,
)
_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def detect(source: BinaryIO) -> str:
    """Return the kind of the file; raises Refused for an unknown kind."""
    source.seek(0)
    head = source.read(HEAD_BYTES)
    if not head.strip():
        raise Refused("it is empty" if len(head) < HEAD_BYTES else "it holds nothing but blanks")
    if head.startswith(_OLE2_MAGIC):
        return OLE2
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ZIP
    for magic, what in _NOT_A_SPREADSHEET:
        if head.startswith(magic):
            raise Refused(f"it is {what}")
    if _RAW_BIFF.match(head):
        return BIFF
    if _DIF.match(head):
        raise Refused("it is a DIF file, which is not read; save it as .xlsx or CSV")
    if _WEB_ARCHIVE.search(head[:2000]):
        raise Refused("it is a web archive (MHTML), which is not read; save it as .xlsx or CSV")
    return _detect_text(head)


def _detect_text(head: bytes) -> str:
    text = decode_head(head)
    if "\0" in text:
        raise Refused("it is neither a known spreadsheet nor text")
    start = text.lstrip("\ufeff \t\r\n")
    if not start.startswith("<"):
        return TEXT
    if "urn:schemas-microsoft-com:office:spreadsheet" in start and start.startswith(
        ("<?xml", "<Workbook", "<ss:Workbook")
    ):
        return XML_2003
    if start.startswith("<?xml") and not re.search(r"<(?:html|table)\b", start, re.IGNORECASE):
        raise Refused("it is XML, but not of a kind that holds sheets")
    return HTML if _HTML.search(start) else TEXT


def decode_head(head: bytes) -> str:
    """Return the text in the encoding that the first bytes show; wrong letters do not matter here."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return head.decode(encoding, "replace")
    if head.startswith(b"<\0"):
        return head.decode("utf-16-le", "replace")
    if head.startswith(b"\0<"):
        return head.decode("utf-16-be", "replace")
    return head.decode("latin-1")


def text_kind(head: bytes) -> str:
    """Return "CSV" if the first line that is not blank holds a delimiter, else "text"."""
    for line in decode_head(head).splitlines():
        if line.strip("\ufeff \t"):
            return "CSV" if any(delimiter in line for delimiter in ",;\t|") else "text"
    return "text"
