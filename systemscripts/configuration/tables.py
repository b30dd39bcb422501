"""Which tables the configuration is, what names their rows, and how a row is taken out of use.

What their columns are, and which of them refer to which table, the database itself says: see catalogue.
"""

from typing import NamedTuple


class Section(NamedTuple):
    """The rows of one table, as the file has them."""

    name: str  # in the file
    table: str
    key: tuple[str, ...]  # the columns that name a row
    within: str = ""  # the section whose rows these belong to
    parent: str = ""  # the column with the id of that row
    is_list: bool = False  # its rows have no name of one column
    off: tuple[str, str] | None = None  # the column, and the value of a row that is not in use
    others: tuple[tuple[str, str], ...] = ()  # table, and condition on its rows `o` that tell of row `t` without a key

    @property
    def path(self) -> str:
        return f"{self.within}.{self.name}" if self.within else self.name


_INACTIVE = ("datastatusid", "Inactive")
_BIT_OFF = ("is_active", "0")
_OFF = ("is_active", "false")

EXCHANGE_TABLE = "dba.texchangeconfig"


def _incident(table: str, key: str) -> tuple[str, str]:
    return "dba.tincident", f"o.source_table = '{table}' AND o.source_id = t.{key}"


# A row may refer to rows of the sections above its own.
SECTIONS = (
    Section("datasources", "dba.tdatasource", ("sourcename",)),
    Section("datasettypes", "dba.tdatasettype", ("typename",)),
    Section("imports", "dba.timportconfig", ("config_name",), off=_BIT_OFF),
    Section("columns", "dba.timportcolumn", ("column_name",), within="imports", parent="config_id"),
    Section("checks", "dba.timportcheck", ("checkname",), within="imports", parent="config_id", off=_OFF),
    Section("inbox", "dba.tinboxconfig", ("config_name",), off=_OFF),
    Section("exchange", EXCHANGE_TABLE, ("config_name",), off=_OFF),
    Section(
        "schedule",
        "dba.tscheduler",
        ("taskname",),
        off=_INACTIVE,
        others=(_incident("dba.tscheduler", "schedulerid"),),
    ),
    Section("feeds", "dba.tfeed", ("feedname",), off=_INACTIVE, others=(_incident("dba.tfeed", "feedid"),)),
    Section(
        "reports",
        "dba.treportmanager",
        ("reportname",),
        off=_INACTIVE,
        others=(("dba.treportdelivery", "o.reportid = t.reportid"), _incident("dba.treportmanager", "reportid")),
    ),
    Section(
        "recipients",
        "dba.treportrecipient",
        ("toheader", "deliver_to", "parameters"),
        within="reports",
        parent="reportid",
        is_list=True,
        off=_BIT_OFF,
        others=(("dba.treportdelivery", "o.reportrecipientid = t.reportrecipientid"),),
    ),
    Section("meetmax_ranges", "dba.tmeetmaxrange", ("first_event_id", "last_event_id"), is_list=True, off=_BIT_OFF),
    Section("holidays", "dba.tholidays", ("holiday_date",)),
)
TOP = tuple(section for section in SECTIONS if not section.within)
PARTS = {section.name: tuple(part for part in SECTIONS if part.within == section.name) for section in TOP}

# Rows refer to these by name, and the programs by number: they are no operator's.
FIXED = {"dba.tdatastatus": "statusname", "dba.timportstrategy": "name"}

# The database writes these itself, or a command for the moment: etl pause, etl snooze.
KEPT_BY_THE_DATABASE = frozenset(
    (
        *("created_at", "createddate", "createdby", "createduser", "last_modified_at", "active_since"),
        *("paused_since", "paused_by", "snoozed_until", "snoozed_by"),
    )
)

# The set-up adds these again, in use, when they are not there; so they are deactivated and not deleted.
OF_THE_SYSTEM = {
    "datasources": {"MeetMax"},
    "datasettypes": {"Metadata", "MeetMaxURL", "MeetMaxEvents"},
    "imports": {"MeetMaxURLCheckImport", "MeetMax_Events_XLS_Import"},
    "schedule": {
        "MeetMax Download and Import",
        "MeetMax URL Check",
        "Weekly Cleanup: MeetMax files",
        "Weekly Cleanup: logs",
        "Daily Database Backup",
        "Restore Drill",
        "Database Maintenance",
        "Schedule Check",
        "Status Page",
        "Weekly Letter",
    },
    "reports": {"MeetMax event changes", "Imports of the day"},
    "meetmax_ranges": {"70841, 140000"},
}
