"""How well files are loaded that nobody tuned for, with nothing configured but what suggest_import.py proposes.

    venv/bin/python benchmarks/unseen_files.py
    venv/bin/python benchmarks/unseen_files.py --every 1               all 3,000 spoilt rows
    venv/bin/python benchmarks/unseen_files.py --folder ~/real_files   real files too: loaded, asked or refused

A polluted file is `exact` when its headings and all its records are in the table, `partly` when bad lines were set
aside and every other record is there, `wrong` when a record is there that nobody meant. The score is that of the
literature: success, and precision, recall and F1 of headings, records and cells; at most 10. Not as root.
"""

import logging
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import polluted
from installation import Installation, installation
from measuring import Report, command_line, tell
from polluted import Polluted

from systemscripts import db_config
from systemscripts.errors import JobError
from systemscripts.generic_import import run_import
from systemscripts.importing.config import load_config
from systemscripts.suggesting.proposal import propose, statements

SCORE_GOAL, WRONG_GOAL = 9.5, 0
NAME = "unseen"

_COLUMNS = """
    SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('public.tunseen') AND attnum > 2 AND NOT attisdropped
    ORDER BY attnum
"""


class Outcome(NamedTuple):
    """What came of one file: a word, the reason of a refusal, and the rows of the table."""

    word: str
    told: str
    headings: list[str]
    records: list[list[str]]


def load(etl: Installation, path: Path) -> Outcome:
    """Propose an import for the file, make it, and load the file."""
    etl.sql("DROP TABLE IF EXISTS public.tunseen CASCADE")
    etl.sql("TRUNCATE dba.timportfile CASCADE")
    etl.sql("DELETE FROM dba.timportconfig WHERE config_name = %s", NAME)
    try:
        proposal = propose([path], NAME)
    except JobError as refusal:
        return Outcome("refused", str(refusal), [], [])
    proposal.values.update(source_directory=str(path.parent), archive_directory=f"{path.parent}/archive")
    with etl.session() as connection, connection.cursor() as cursor:
        for statement in statements(cursor, proposal, with_types=False):
            cursor.execute(statement)
    with db_config.session() as connection:
        (outcome,) = run_import(connection, load_config(connection, NAME), file=path).files
    if outcome.status not in ("Loaded", "Empty"):
        return Outcome("refused", outcome.detail, [], [])
    names = [name for (name,) in etl.sql(_COLUMNS)]
    chosen = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    rows = etl.sql(f"SELECT {chosen} FROM public.tunseen ORDER BY tunseenid") if names else []
    return Outcome("loaded", outcome.detail, names, [[field or "" for field in row] for row in rows])


def shares(found: Iterable[object], meant: Iterable[object]) -> list[float]:
    """Return precision, recall and F1 of what was found."""
    found, meant = Counter(found), Counter(meant)
    same = (found & meant).total()
    precision = same / found.total() if found else float(not meant)
    recall = same / meant.total() if meant else float(not found)
    return [
        precision,
        recall,
        2 * precision * recall / (precision + recall) if same else float(not found and not meant),
    ]


def score(file: Polluted, outcome: Outcome) -> float:
    if file.records is None:
        return 10.0 if outcome.word == "refused" else 0.0
    if outcome.word == "refused":
        return 0.0
    parts = [
        *shares(outcome.headings, file.headings),
        *shares(map(tuple, outcome.records), map(tuple, file.records)),
        *shares((cell for row in outcome.records for cell in row), (cell for row in file.records for cell in row)),
    ]
    return 1.0 + sum(parts)


def judged(file: Polluted, outcome: Outcome) -> str:
    if file.records is None:
        return "rightly refused" if outcome.word == "refused" else "wrong"
    if outcome.word == "refused":
        return "refused"
    extra = Counter(map(tuple, outcome.records)) - Counter(map(tuple, file.records))
    if extra or outcome.headings != file.headings:
        return "wrong"
    return "exact" if len(outcome.records) == len(file.records) else "partly"


def main() -> None:
    parser = command_line(__doc__, rounds=1)
    parser.add_argument(
        "--every", type=int, default=19, metavar="N", help="every Nth place of a spoilt row (default %(default)s)"
    )
    parser.add_argument("--folder", type=Path, help="a folder with real CSV files")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    report, of_kind, scores = Report(), dict[str, Counter[str]](), dict[str, list[float]]()
    with installation() as etl:
        folder = etl.home / "files"
        folder.mkdir()
        files = [*polluted.whole_files(), *polluted.spoilt_rows(args.every)]
        tell(f"{len(files)} polluted files")
        for file in files:
            path = folder / "list_20261127.csv"
            path.write_bytes(file.content)
            outcome = load(etl, path)
            word = judged(file, outcome)
            of_kind.setdefault(file.kind, Counter())[word] += 1
            scores.setdefault(file.kind, []).append(score(file, outcome))
            if word in ("wrong", "refused"):
                tell(f"{file.kind}: {word}: {outcome.told[:150]}")
            for left in folder.rglob("list_*"):
                left.unlink()
        real = (
            Counter(load_real(etl, path, folder) for path in sorted(args.folder.rglob("*.csv"))) if args.folder else {}
        )
    for kind, words in of_kind.items():
        report.figures.append({"kind": kind, **words, "score": sum(scores[kind]) / len(scores[kind])})
    every = [value for values in scores.values() for value in values]
    by_kind = [sum(values) / len(values) for values in scores.values()]
    report.at_least("score of all files", sum(every) / len(every), SCORE_GOAL, "of 10")
    report.at_least("score, each kind alike", sum(by_kind) / len(by_kind), SCORE_GOAL, "of 10")
    report.at_most("files loaded wrongly", sum(words["wrong"] for words in of_kind.values()), WRONG_GOAL, "files")
    if real:
        report.figures.append({"kind": "real files", **real})
    report.show(args.json)


def load_real(etl: Installation, path: Path, folder: Path) -> str:
    copy = folder / "list_20261127.csv"
    copy.write_bytes(path.read_bytes())
    outcome = load(etl, copy)
    for left in folder.rglob("list_*"):
        left.unlink()
    if outcome.word == "refused":
        tell(f"{path.name}: {outcome.told[:150]}")
    return outcome.word


if __name__ == "__main__":
    sys.exit(main())
