"""Convert the first sheet of a workbook to CSV: the ways that spreadsheets.py compares, each in a process of its own.

    sheet_with.py ours|calamine|fastexcel|openpyxl|xlrd FILE OUT

`ours` and `calamine` run in the project's venv, the others in the tools' own.
"""

import sys
from pathlib import Path


def ours(source: str, target: str) -> None:
    """As the import does it: a child process, detection, caps, and a file that is whole or not there."""
    from systemscripts.xls_to_csv import convert

    convert(Path(source), Path(target))


def calamine(source: str, target: str) -> None:
    """The yardstick: the shortest program that gives the same text."""
    import csv
    import datetime

    from python_calamine import CalamineWorkbook

    def text(value: object) -> object:
        if isinstance(value, bool):
            return "TRUE" if value else "FALSE"
        if isinstance(value, float):
            return int(value) if value.is_integer() else value
        if isinstance(value, datetime.datetime):
            return value.isoformat(" ").removesuffix(" 00:00:00")
        return value

    with open(target, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        for row in CalamineWorkbook.from_path(source).get_sheet_by_index(0).iter_rows():
            writer.writerow([value if type(value) is str else text(value) for value in row])


def fastexcel(source: str, target: str) -> None:
    """All columns as strings, which is what it is fastest with."""
    import fastexcel
    import pyarrow.csv

    batch = fastexcel.read_excel(source).load_sheet(0, dtypes="string").to_arrow()
    pyarrow.csv.write_csv(batch, target)


def with_pandas(engine: str, source: str, target: str) -> None:
    import pandas

    pandas.read_excel(source, engine=engine, dtype=str, keep_default_na=False).to_csv(target, index=False)


if __name__ == "__main__":
    way, *files = sys.argv[1:]
    ways = {"ours": ours, "calamine": calamine, "fastexcel": fastexcel}
    if way in ways:
        ways[way](*files)
    else:
        with_pandas(way, *files)
