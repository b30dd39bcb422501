"""What is usual of a dataset: rows, keys and empty cells beside the earlier ones of its label, and a simulated year of feeds."""

from datetime import date, timedelta

import pytest
from content_year import profile, simulate

from systemscripts.importing.usual import LEAST_PAST, Past, Profile, judge

MONDAY = date(2026, 3, 2)


def days(number: int, first: date = MONDAY) -> list[date]:
    """Return the last business days before the first one, the newest first."""
    found = (first - timedelta(days=back) for back in range(1, 10 * number))
    return [day for day in found if day.weekday() < 5][:number]


def past(*rows: int, **of_profile: float) -> list[Past]:
    """Return datasets of the business days before MONDAY, the newest first."""
    return [Past(day, False, profile(number, **of_profile)) for day, number in zip(days(len(rows)), rows, strict=True)]  # type: ignore[arg-type]


def unusual(found: Profile, before: list[Past], day: date = MONDAY, is_month_end: bool = False) -> list[str]:
    return judge(found, day, is_month_end, before).unusual


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (14, ["14 rows, usually 310 to 330"]),
        (160, ["160 rows, usually 310 to 330"]),
        (640, ["640 rows, usually 310 to 330"]),
        (1, ["1 rows, usually 310 to 330"]),
        (290, []),
        (320, []),
        (400, []),
    ],
)
def test_rows_far_from_the_usual_are_told_with_it(rows: int, told: list[str]) -> None:
    assert unusual(profile(rows), past(320, 310, 330, 315, 325, 320)) == told


def test_nothing_is_unusual_before_there_are_enough_datasets() -> None:
    assert unusual(profile(1), past(*[320] * (LEAST_PAST - 1))) == []
    assert unusual(profile(1), past(*[320] * LEAST_PAST)) == ["1 rows, usually 320"]


def test_a_few_rows_more_or_less_are_usual_for_a_short_list() -> None:
    assert unusual(profile(7), past(3, 2, 3, 4, 3)) == []


def test_a_feed_that_varies_much_is_given_its_room() -> None:
    assert unusual(profile(60), past(100, 180, 50, 220, 90, 140)) == []


def test_a_weekday_has_its_own_usual() -> None:
    mondays = [Past(MONDAY - timedelta(weeks=back), False, profile(1_000)) for back in range(1, 7)]
    others = [one for one in past(*[300] * 30) if one.day.weekday() != 0]
    before = sorted([*mondays, *others], key=lambda one: one.day, reverse=True)

    assert unusual(profile(990), before) == []
    assert unusual(profile(300), before) == ["300 rows, usually 1,000"]
    assert unusual(profile(1_000), before, MONDAY + timedelta(days=1)) == ["1,000 rows, usually 300"]


def test_as_long_as_few_days_of_a_weekday_are_known_whatever_came_on_another_is_usual() -> None:
    assert unusual(profile(1_000), past(300, 300, 1_000, 300, 300, 300)) == []
    assert unusual(profile(30), past(300, 300, 1_000, 300, 300, 300)) == ["30 rows, usually 300 to 1,000"]


def test_a_months_end_may_bring_more() -> None:
    before = past(*[300] * 20)
    assert unusual(profile(2_000), before, is_month_end=True) == []
    assert unusual(profile(100), before, is_month_end=True) == ["100 rows, usually 300"]

    ends = [one._replace(is_month_end=True, profile=profile(2_000), usual_rows=300) for one in past(*[0] * 60)[19::20]]
    known = sorted([*before[:19], *ends], key=lambda one: one.day, reverse=True)
    assert unusual(profile(2_100), known, is_month_end=True) == []
    assert unusual(profile(9_000), known, is_month_end=True) != []


def test_what_a_person_released_is_the_measure_of_those_after_it() -> None:
    before = past(150, *[300] * 40)
    assert unusual(profile(150), before) != []

    before[0] = before[0]._replace(was_released=True, usual_rows=300.0)
    assert unusual(profile(155), before) == []
    assert unusual(profile(300), before) == []
    assert unusual(profile(60), before) != []


def test_a_release_counts_no_more_when_the_lists_are_again_as_before() -> None:
    before = [one._replace(usual_rows=100.0) for one in past(100, 100, 9, *[100] * 40)]
    before[2] = before[2]._replace(was_released=True)
    assert unusual(profile(9), before) == ["9 rows, usually 100"]
    assert unusual(profile(50), before) == ["50 rows, usually 100"]


def test_what_was_let_pass_with_a_doubt_makes_nothing_usual() -> None:
    before = past(9, *[100] * 7)
    before[0] = before[0]._replace(was_warned=True, usual_rows=100.0)
    assert unusual(profile(50), before) == ["50 rows, usually 100"]


def test_a_column_that_is_missing_is_told_until_it_is_released() -> None:
    before = past(*[100] * 6, filled=0.9)
    without = Profile(100, 100, {"other": 100}, {})
    assert unusual(without, before) == ["price is missing, usually filled in 90%"]
    before[0] = before[0]._replace(profile=without, was_released=True)
    assert unusual(without, [before[0], *past(*[100] * 6, filled=0.9)]) == []


def test_a_column_that_is_suddenly_empty_is_told() -> None:
    before = past(*[100] * 6, filled=0.9)
    assert unusual(profile(100, filled=0), before) == ["price is filled in 0% of the rows, usually filled in 90%"]
    assert unusual(profile(100, filled=0.4), before) == ["price is filled in 40% of the rows, usually filled in 90%"]
    assert unusual(profile(100, filled=0.8), before) == []
    assert unusual(profile(100, filled=0), past(*[100] * 6, filled=0.2)) != []
    assert unusual(profile(100, filled=1), past(*[100] * 6, filled=0.2)) == []
    # Of three rows with one value among them it says nothing.
    assert unusual(profile(3, filled=0), past(*[3] * 6, filled=0.4)) == []


def test_the_keys_of_a_list_are_told_when_they_are_fewer() -> None:
    before = past(*[100] * 6, keys=100)
    assert unusual(profile(100, keys=50), before) == ["50 different values in ticker, usually 100"]
    assert unusual(profile(100, keys=99), before) == []


def test_the_content_of_the_day_before_is_told_unless_that_is_usual() -> None:
    before = [one._replace(profile=profile(100, content=f"{one.day}")) for one in past(*[100] * 6)]
    again = profile(100, content=f"{before[0].day}")
    assert unusual(again, before) == [f"the same content as that of {before[0].day}, which it never had twice"]

    before[4] = before[4]._replace(profile=before[3].profile)
    assert unusual(again, before) == []


def test_in_a_year_of_sixty_feeds_nearly_all_faults_are_found_on_the_day_and_hardly_any_alarm_is_false() -> None:
    year = simulate(seed=7)
    assert sum(year.found.values()) >= 0.95 * year.planted.total(), year
    assert year.false_alarms <= 12, year
