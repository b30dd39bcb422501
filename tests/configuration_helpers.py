"""A configuration with a row of each kind, and the two ways between a text and the tables."""

from typing import Any

from systemscripts.configuration import applying, exporting

FULL = """\
datasources:
  Example Bank: {}
datasettypes:
  Sales:
    keep_inactive_days: 365
imports:
  Branch_Sales:
    datasource: Example Bank
    datasettype: Sales
    source_directory: /srv/feeds/sales/incoming
    archive_directory: /srv/feeds/sales/archive
    file_pattern: 'sales_*.csv'
    file_type: CSV
    metadata_label_source: static
    metadata_label_location: all branches
    dateconfig: filename
    datelocation: '1'
    dateformat: yyyyMMdd
    delimiter: _
    target_table: public.tsales
    importstrategyid: Import only (ignores new columns)
    is_active: false
    reject_limit_percent: 2.50
    columns:
      sales:
        data_type: numeric
        decimal_sign: ','
        null_words: ['-', 'N/A', 'null', "x\\ty"]
    checks:
      no price is negative:
        query: |
          SELECT *
          FROM public.tsales
          WHERE datasetid = :datasetid AND sales < 0
inbox:
  Mail:
    gmail_account: a@example.com
    local_repository_path: /srv/in
    received_since: 2026-01-01 00:00:00+00
exchange:
  bank:
    kind: local
    incoming_path: /srv/bank/incoming
    local_repository_path: /srv/feeds/sales/incoming
schedule:
  Sales:
    frequency: 30 6 * * mon-fri
    scriptpath: run_import_job.py
    scriptargs: Branch_Sales
    depends_on: Take the mail
    datastatusid: Inactive
  Take the mail:
    frequency: '*/10 * * * *'
    scriptpath: process_inbox.py
    retry_delay_minutes: 0.5
feeds:
  Sales by seven:
    config_id: Branch_Sales
    due_by: 0 7 * * 1-5
    labels: [Bern, 'yes', '1e3']
    arrives_by: inbox:Mail
reports:
  Sales:
    frequency: 30 7 * * 1-5
    subjectheader: Sales
    emailbodytemplate: "<p>\\u202e{{grid1}}\\r\\n"
    emailbodyqueries:
      grid1: |
        SELECT *
        FROM public.vsales
    emailbodyoptions:
      grid1: {rows: 5000, formats: {Price: ',.2f', yes: null}}
    attachmentqueries:
      - {name: sales.csv, query: SELECT 1 AS a}
    wait_until: 08:30:00
    recipients:
      - toheader: bern@example.com
        parameters: {branch: Bern}
      - toheader: bern@example.com
        parameters: {branch: Thun}
        is_active: false
      - deliver_to: bank/weekly
        parameters: {branch: Bern}
meetmax_ranges:
  - first_event_id: 1
    last_event_id: 10
"""


def exported(cursor: Any) -> str:
    return exporting.export(cursor)[0]


def applied(cursor: Any, text: str, only: str = "") -> list[str]:
    """Apply the text, and return a word and a name for each change."""
    compared = applying.apply(cursor, text.encode(), applying.sections(only))
    return [f"{change.what.value} {change.path} {change.row.name}" for change in compared.changes]
