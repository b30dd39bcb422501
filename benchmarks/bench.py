"""All benchmarks in one command: one table of what was wanted and measured, and a file that a later run is compared with.

    venv/bin/python benchmarks/bench.py run                             each benchmark, in about an hour
    venv/bin/python benchmarks/bench.py run starting small_files        only these
    venv/bin/python benchmarks/bench.py run --large --tools ~/bench_tools --output before.json
    venv/bin/python benchmarks/bench.py compare before.json after.json

Measure on a machine that does nothing else: the ratios hold, the seconds do not. Not as root, because PostgreSQL refuses that.
"""

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from measuring import print_table, tell

HERE = Path(__file__).resolve().parent
BENCHMARKS = (
    "starting", "import_csv", "small_files", "spreadsheets", "long_ledger", "change_report", "log_records", "report",
    "scan", "unseen_files", "usual_days", "arrivals", "configuration", "cloud_files", "same_minute",
)  # fmt: skip
WITH_TOOLS = ("import_csv", "spreadsheets")
LARGE = {"import_csv": ["--sizes", "10", "100", "1000"]}
Results = dict[str, Any]
Row = dict[str, Any]


def run(names: list[str], options: argparse.Namespace) -> Results:
    """Return what each benchmark printed, by its name, or {"failed": reason}; each is kept as soon as it is there."""
    results: Results = {"begun": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "benchmarks": {}}
    for name in names:
        arguments = [*(LARGE.get(name, []) if options.large else [])]
        if options.tools and name in WITH_TOOLS:
            arguments += ["--tools", str(options.tools)]
        tell(f"== {name} {' '.join(arguments)}".rstrip())
        ended = subprocess.run(
            [sys.executable, HERE / f"{name}.py", "--json", *arguments], stdout=subprocess.PIPE, text=True, check=False
        )
        told = json.loads(ended.stdout) if ended.returncode == 0 else {"failed": f"exit status {ended.returncode}"}
        results["benchmarks"][name] = told
        if options.output:
            options.output.write_text(json.dumps(results, indent=1) + "\n")
    return results


def goals_of(results: Results) -> dict[tuple[str, str], Row]:
    """Return each goal with what was measured, by benchmark and goal."""
    return {
        (name, goal["goal"]): goal for name, told in results["benchmarks"].items() for goal in told.get("goals", [])
    }


def summary(results: Results) -> list[Row]:
    """Return one row for each goal, and for each benchmark that failed."""
    rows: list[Row] = [{"benchmark": name, **goal} for (name, _), goal in goals_of(results).items()]
    failed = [(name, told["failed"]) for name, told in results["benchmarks"].items() if "failed" in told]
    return [*rows, *({"benchmark": name, "goal": reason, "met": False} for name, reason in failed)]


def comparison(before: Results, after: Results) -> list[Row]:
    """Return one row for each goal that one of the runs has, with the change in percent of the first."""
    first, second = goals_of(before), goals_of(after)
    rows: list[Row] = []
    for key in dict.fromkeys([*first, *second]):
        was, now = (goals[key]["measured"] if key in goals else None for goals in (first, second))
        change = f"{100 * (now - was) / was:+.0f} %" if was and now is not None else ""
        goal = second.get(key) or first[key]
        row = {"benchmark": key[0], "goal": key[1], "before": was, "after": now, "unit": goal["unit"]}
        rows.append({**row, "change": change, "wanted": goal["wanted"], "met": goal["met"]})
    return rows


def loaded(path: Path) -> Results:
    """Return the results in a file; ends with one sentence if it has none."""
    try:
        results = json.loads(path.read_text())
        results["benchmarks"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        sys.exit(f"{path} is no file that bench.py run --output has written: {problem}")
    return dict(results)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    running = verbs.add_parser("run", help="run the benchmarks")
    running.add_argument("names", nargs="*", choices=BENCHMARKS, metavar="NAME", help=", ".join(BENCHMARKS))
    running.add_argument("--large", action="store_true", help="CSV of 1 GB as well")
    running.add_argument("--tools", type=Path, metavar="DIR", help="the venv that install_tools.sh made")
    running.add_argument("--output", type=Path, metavar="FILE", help="write all figures there as JSON")
    comparing = verbs.add_parser("compare", help="compare two files that run --output has written")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    args = parser.parse_args()
    if args.verb == "compare":
        print_table(comparison(loaded(args.before), loaded(args.after)))
        return 0
    results = run(args.names or list(BENCHMARKS), args)
    print_table(summary(results))
    return int(any("failed" in told for told in results["benchmarks"].values()))


if __name__ == "__main__":
    sys.exit(main())
