"""Which slot a row has at a moment: the same for whoever starts it, late or by another rule for the night of the clock change."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from systemscripts.cron import slots
from systemscripts.cron.slots import slot_at, slot_of_start

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("frequency", "moment", "shown"),
    [
        ("0 5 * * *", "2026-03-02T05:00:00+01:00", "2026-03-02 05:00"),
        ("0 5 * * *", "2026-03-02T05:01:21+01:00", "2026-03-02 05:00"),
        ("0 5 * * *", "2026-03-02T04:59:59+01:00", "2026-03-01 05:00"),
        ("*/15 * * * *", "2026-03-02T05:14:59+01:00", "2026-03-02 05:00"),
        # The hour that is skipped: cron starts it at its end, others half an hour later.
        ("30 2 * * *", "2026-03-29T03:00:00+02:00", "2026-03-29 03:00"),
        ("30 2 * * *", "2026-03-29T03:30:00+02:00", "2026-03-29 03:00"),
        # The hour that comes twice: cron starts it in the first one, others in the second.
        ("30 2 * * *", "2026-10-25T02:30:00+02:00", "2026-10-25 02:30"),
        ("30 2 * * *", "2026-10-25T02:30:00+01:00", "2026-10-25 02:30"),
        # What follows the clock runs in both.
        ("*/30 * * * *", "2026-10-25T02:30:00+02:00", "2026-10-25 02:30"),
        ("*/30 * * * *", "2026-10-25T02:30:00+01:00", "2026-10-25 02:30 again"),
    ],
)
def test_the_slot_is_what_the_clock_on_the_wall_shows(frequency: str, moment: str, shown: str) -> None:
    slot = slot_at(frequency, datetime.fromisoformat(moment), BERLIN)
    assert slot is not None
    assert slot.shown == shown


def test_a_slot_is_its_own_slot() -> None:
    slot = slot_at("30 2 * * *", datetime.fromisoformat("2026-03-29T03:40:00+02:00"), BERLIN)
    assert slot is not None
    assert slot_at("30 2 * * *", slot.time, BERLIN) == slot


def test_a_start_hours_after_the_slot_is_about_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "cron_zone", lambda: UTC)
    late, too_late = (datetime(2026, 3, 2, 8, minute, tzinfo=UTC) for minute in (0, 1))
    assert slot_of_start("0 5 * * *", late) is not None
    assert slot_of_start("0 5 * * *", too_late) is None
    assert slot_of_start("@reboot", late) is None
