"""DAGs of Airflow 3 for the schedule of Client ETL Workflow, one for each row, and one more for a clock change.

update_cron_jobs.py copies this file beside etl_schedule.json, which it writes from the rows. Each DAG has one task, which calls
the door with the planned time. Retries, dependencies, time limit and overlap are the door's, from the row: whatever starts a
run, it follows the same rules, and dba.tjobrun has every attempt. So Airflow itself tries nothing again.
"""

import json
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from airflow.timetables.trigger import MultipleCronTriggerTimetable

SCHEDULE = json.loads(Path(__file__).with_name("etl_schedule.json").read_text(encoding="utf-8"))
# A run that a person starts without a date has no slot.
SLOT = "{% if dag_run.logical_date %}--scheduled-at {{ dag_run.logical_date.isoformat() }}{% endif %}"
# As bare as cron's. What a job needs besides, env.sh reads.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def literal(words: list[str]) -> str:
    """Return words for a shell, in a template: the text of a row begins no expression of Jinja."""
    return shlex.join(words).replace("{", '{{ "{" }}')


def dag_of(row: dict[str, Any]) -> DAG:
    limit = row["longest_seconds"]
    with DAG(
        dag_id=row["dag_id"],
        description=row["title"],
        schedule=MultipleCronTriggerTimetable(*row["crons"], timezone=row["zone"]),
        start_date=datetime(2024, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,
        tags=["etl", *([f"after {row['depends_on']}"] if row["depends_on"] else [])],
    ) as dag:
        BashOperator(
            task_id="run",
            # The blank at the end: a command that ends with .sh would be taken for the name of a template.
            bash_command=f"exec /bin/bash {literal([SCHEDULE['door']])} {SLOT} {literal(row['arguments'])} ",
            env=ENVIRONMENT,
            append_env=False,
            skip_on_exit_code=75,
            retries=0,
            execution_timeout=None if limit is None else timedelta(seconds=limit),
        )
    return dag


for each in SCHEDULE["dags"]:
    globals()[each["dag_id"]] = dag_of(each)
