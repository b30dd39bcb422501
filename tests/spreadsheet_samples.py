"""Workbooks made for the tests: by libraries, or part by part where no library would write such a thing."""

import datetime
import io
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"

EPOCH_1900 = datetime.datetime(1899, 12, 30)


def ooxml(
    rows: str,
    *,
    before: str = "",
    styles: str = "",
    strings: str = "",
    date_1904: bool = False,
    more: dict[str, bytes] | None = None,
) -> bytes:
    """Return a workbook of one sheet S with this XML as its rows; `styles` are number formats by style number, joined by |."""
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPE}.worksheet+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{_TYPE}.styles+xml"/>'
        f'<Override PartName="/xl/sharedStrings.xml" ContentType="{_TYPE}.sharedStrings+xml"/></Types>',
        "_rels/.rels": _relations(("rId1", "officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}"><workbookPr date1904="{int(date_1904)}"/>'
        '<sheets><sheet name="S" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": _relations(
            ("rId1", "worksheet", "worksheets/sheet1.xml"),
            ("rId2", "styles", "styles.xml"),
            ("rId3", "sharedStrings", "sharedStrings.xml"),
        ),
        "xl/styles.xml": _styles(styles.split("|") if styles else []),
        "xl/sharedStrings.xml": f'<sst xmlns="{_MAIN}">{strings}</sst>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{_MAIN}">{before}<sheetData>{rows}</sheetData></worksheet>',
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**parts, **(more or {})}.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _relations(*entries: tuple[str, str, str]) -> str:
    links = "".join(f'<Relationship Id="{i}" Type="{_RELATIONS}/{kind}" Target="{to}"/>' for i, kind, to in entries)
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{links}</Relationships>'


def _styles(formats: list[str]) -> str:
    """Return styles 1, 2, … with these number formats: a code, or #14 for a built-in one."""
    escaped = [code.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;") for code in formats]
    custom = "".join(
        f'<numFmt numFmtId="{164 + n}" formatCode="{code}"/>' for n, code in enumerate(escaped) if code[:1] != "#"
    )
    ids = [int(code[1:]) if code[:1] == "#" and code[1:].isdigit() else 164 + n for n, code in enumerate(escaped)]
    cells = "".join(f'<xf numFmtId="{number}" applyNumberFormat="1"/>' for number in [0, *ids])
    return (
        f'<styleSheet xmlns="{_MAIN}">' + (f"<numFmts>{custom}</numFmts>" if custom else "") + "<fonts><font/></fonts>"
        "<fills><fill/></fills><borders><border/></borders>"
        f'<cellStyleXfs><xf numFmtId="0"/></cellStyleXfs><cellXfs>{cells}</cellXfs></styleSheet>'
    )


def number_cells(values: Sequence[float], style: int = 0) -> str:
    """Return a row for each number, in column A."""
    return "".join(f'<row r="{n}"><c r="A{n}" s="{style}"><v>{v!r}</v></c></row>' for n, v in enumerate(values, 1))


def openpyxl_book(rows: Sequence[Sequence[Any]], date_1904: bool = False) -> bytes:
    import openpyxl
    from openpyxl.utils.datetime import MAC_EPOCH

    book = openpyxl.Workbook()
    if date_1904:
        book.epoch = MAC_EPOCH
    page = book.active
    for row_number, row in enumerate(rows, 1):
        for column, value in enumerate(row, 1):
            if value is None:
                continue
            cell = page.cell(row_number, column, value)
            if isinstance(value, str):
                cell.data_type = "s"
    return _saved(book)


def xlwt_book(rows: Sequence[Sequence[Any]], date_1904: bool = False, number_format: str = "") -> bytes:
    import xlwt

    book = xlwt.Workbook()
    book.dates_1904 = date_1904
    page = book.add_sheet("Sheet1")
    formats = {kind: xlwt.easyxf(num_format_str=code) for kind, code in _XLWT_FORMATS.items()}
    if number_format:
        formats[float] = formats[int] = xlwt.easyxf(num_format_str=number_format)
    for row_number, row in enumerate(rows):
        for column, value in enumerate(row):
            if value is not None:
                page.write(row_number, column, value, formats.get(type(value), xlwt.Style.default_style))
    return _saved(book)


_XLWT_FORMATS = {
    datetime.datetime: "yyyy-mm-dd hh:mm:ss",
    datetime.date: "yyyy-mm-dd",
    datetime.time: "hh:mm:ss",
    datetime.timedelta: "[h]:mm:ss",
}


def xlwt_sheets(**sheets: tuple[int, str]) -> bytes:
    """Return a workbook with these sheets: visibility (0 visible, 1 hidden, 2 very hidden) and the text of A1."""
    import xlwt

    book = xlwt.Workbook()
    for name, (visibility, text) in sheets.items():
        page = book.add_sheet(name)
        page.visibility = visibility
        page.write(0, 0, text)
    book.set_active_sheet(next(n for n, (visibility, _) in enumerate(sheets.values()) if not visibility))
    return _saved(book)


def _saved(book: Any) -> bytes:
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def ole2_named(stream: str) -> bytes:
    """Return an OLE2 file whose one stream has another name than a workbook's."""
    content = bytearray(xlwt_book([["text"]] * 300))
    entry = content.index("Workbook".encode("utf-16-le"))
    name = stream.encode("utf-16-le")
    content[entry : entry + 64] = name.ljust(64, b"\0")
    struct.pack_into("<H", content, entry + 64, len(name) + 2)
    return bytes(content)


def ole2_in_a_circle() -> bytes:
    """Return an .xls whose sixth sector is followed by its fourth again."""
    content = bytearray(xlwt_book([["text"]] * 3000))
    (table,) = struct.unpack_from("<I", content, 76)
    struct.pack_into("<I", content, (table + 1) * 512 + 4 * 5, 3)
    return bytes(content)


def password_protected_xls() -> bytes:
    """Return an .xls in which a record says that the rest is encrypted."""
    content = xlwt_book([["text"]])
    return content.replace(struct.pack("<HH", 0x5C, 112), struct.pack("<HH", 0x2F, 112), 1)


def raw_biff2() -> bytes:
    """Return a sheet as Excel 2 wrote it, without a container: a text, a whole number and an error in one row."""
    cell = b"\0\0\0"
    records = (
        (0x0009, struct.pack("<HH", 2, 0x10)),
        (0x0004, struct.pack("<HH", 0, 0) + cell + b"\x02ab"),
        (0x0002, struct.pack("<HH", 0, 1) + cell + struct.pack("<H", 7)),
        (0x0005, struct.pack("<HH", 0, 2) + cell + b"\x2a\x01"),
        (0x000A, b""),
    )
    return b"".join(struct.pack("<HH", number, len(body)) + body for number, body in records)


def with_a_damaged_part(workbook: bytes, part: str) -> bytes:
    """Return the workbook with one part stored so that its checksum is wrong."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    content = bytearray(buffer.getvalue())
    with zipfile.ZipFile(io.BytesIO(workbook)) as old:
        place = content.index(old.read(part))
    content[place + 40] ^= 1
    return bytes(content)


XML_2003 = """<?xml version="1.0"?><?mso-application progid="Excel.Sheet"?>
<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet" xmlns:ss="urn:schemas-microsoft-com:office:spreadsheet"
 xmlns:x="urn:schemas-microsoft-com:office:excel">
 <Worksheet ss:Name="Hidden"><Table><Row><Cell><Data ss:Type="String">no</Data></Cell></Row></Table>
  <x:WorksheetOptions><x:Visible>SheetHidden</x:Visible></x:WorksheetOptions></Worksheet>
 <Worksheet ss:Name="Prices"><Table ss:ExpandedColumnCount="5">
  <Row><Cell><Data ss:Type="String">name</Data></Cell><Cell><Data ss:Type="String">a "b", c&#10;d</Data></Cell></Row>
  <Row ss:Index="3"><Cell ss:Index="2"><Data ss:Type="Number">3.50</Data></Cell><Cell><Data ss:Type="Number">007</Data></Cell>
   <Cell><Data ss:Type="Boolean">1</Data></Cell></Row>
  <Row><Cell><Data ss:Type="DateTime">2024-02-29T00:00:00.000</Data></Cell>
   <Cell ss:MergeAcross="1"><Data ss:Type="DateTime">2024-02-29T13:14:15.500</Data></Cell>
   <Cell><Data ss:Type="DateTime">1899-12-31T06:30:00.000</Data></Cell><Cell><Data ss:Type="Error">#N/A</Data></Cell></Row>
 </Table></Worksheet></Workbook>"""

XML_2003_AS_CSV = 'name,"a ""b"", c\nd",,,\n,,,,\n,3.5,7,TRUE,\n2024-02-29,2024-02-29 13:14:15.500000,,06:30:00,#N/A\n'


def saved(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
