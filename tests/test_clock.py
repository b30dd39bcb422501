"""Years of nights with a clock that leaps now and then: nothing goes for its age that is not old."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from conftest import Installation

from systemscripts import clock, db_config
from systemscripts.errors import TemporaryFailure

NIGHTS = 7 * 365
KEEP = timedelta(days=30)
DAY = timedelta(days=1)
# Beyond today, as this machine's clock has it: the database's own clock does not leap with the simulated one.
BEGIN = datetime(2040, 1, 1, 3, tzinfo=UTC)
RUN = "INSERT INTO dba.tjobrun (run_uuid, job, status, started_at, ended_at) VALUES (gen_random_uuid(), 'x.py', 'Succeeded', %s, %s)"


def test_seven_years_of_leaps_delete_nothing_that_is_not_old(
    etl: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    files: list[tuple[datetime, datetime]] = []  # when it was made, and by the clock of that night
    offset, nights_wrong, deleted, held, off_until = timedelta(), 0, 0, 0, 0
    with db_config.session() as connection:
        connection.autocommit = True
        for night in range(NIGHTS):
            if night < off_until:
                continue
            if nights_wrong and (nights_wrong := nights_wrong - 1) == 0:
                offset = timedelta()
            elif not nights_wrong and chance.random() < 0.02:
                nights_wrong = chance.randint(1, 6)  # a person sees it within the days of distrust
                offset = timedelta(days=chance.choice([-3000, -365, -30, -1, 5, 31, 365, 5000, 26000]))
            elif chance.random() < 0.01:
                off_until = night + chance.randint(2, 40)  # the machine is off
            now = BEGIN + night * DAY
            by_clock = now + offset
            monkeypatch.setenv("ETL_CLOCK", by_clock.isoformat())
            files.append((now, by_clock))
            try:
                clock.require_steady(connection)
            except TemporaryFailure:
                held += 1
            else:
                old = [file for file in files if by_clock - file[1] > KEEP]
                for made, stamp in old:
                    was_behind = stamp < made - DAY  # its own time is wrong, and nothing else tells its age
                    assert now - made >= KEEP - clock.LONGEST_PAUSE or was_behind, f"seed {seed}, night {night}"
                deleted += len(old)
                files = [file for file in files if file not in old]
            etl.query(RUN, by_clock, by_clock)
    assert deleted > NIGHTS / 2
    assert 0 < held < NIGHTS / 2


def test_the_second_leap_to_the_same_time_is_seen_as_well(etl: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of the first one stand where the second one leads."""
    with db_config.session() as connection:
        connection.autocommit = True
        for night in [*range(10), *range(41, 50), *range(19, 29), 50]:
            moment = BEGIN + night * DAY
            monkeypatch.setenv("ETL_CLOCK", moment.isoformat())
            if night == 50:
                with pytest.raises(TemporaryFailure, match="the clock may be wrong"):
                    clock.require_steady(connection)
            etl.query(RUN, moment, moment)
