"""Compare what a file brought with what is usual for its label: its rows, its keys and its empty cells.

The usual is the median of earlier datasets of the label, and how far they lie from it. The number of rows is
compared with the same weekday, and on the last business day of a month with other month ends too, because both
may have a size of their own. Without enough earlier datasets nothing is said.
"""

import itertools
from collections.abc import Iterable, Sequence
from datetime import date
from statistics import median
from typing import NamedTuple

# So many earlier datasets are needed before anything is unusual; of month ends there are few.
LEAST_PAST = 5
LEAST_MONTH_ENDS = 3
# So many are compared: a label that grows slowly must not leave its own usual behind.
_MOST_OF_A_WEEKDAY = 8
MOST_RECENT = 20
# So long it takes until most of the weekdays that are compared are of a new size.
_MOST_SINCE_RELEASE = 5 * LEAST_PAST
# So many datasets later the new size begins to be the usual itself.
_UNTIL_USUAL = 15
# A number is usual within so many spreads of the median, and always within this share of it and so many units. The spread
# is the median distance from the median, scaled to the standard deviation of a normal distribution.
_SPREADS = 4
_TO_DEVIATION = 1.4826
_SHARE = 0.3
_UNITS = 5
# An empty column is unusual if so many of its cells are usually filled; one that is only emptier, by this share.
_LEAST_FILLED = 5
_EMPTIER = 0.3
_AS_EMPTY = 0.05


class Profile(NamedTuple):
    """What a dataset is made of. `filled` and `distinct` are counts by column, of the first `counted` rows."""

    rows: int
    counted: int
    filled: dict[str, int]
    distinct: dict[str, int]
    sha256: str | None = None


class Past(NamedTuple):
    """An earlier dataset of the label. `usual_rows` is what was usual then.

    `was_released` says that a person let it pass although it was not as usual, `was_warned` that it passed with a warning.
    """

    day: date
    is_month_end: bool
    profile: Profile
    usual_rows: float | None = None
    was_released: bool = False
    was_warned: bool = False


class Judgement(NamedTuple):
    """`unusual` are sentences about what is not as usual; `usual_rows` is None without enough earlier datasets."""

    unusual: list[str]
    usual_rows: float | None


class _Range(NamedTuple):
    """What is usual: a median, the lowest and highest number that still is, and the numbers that were seen."""

    middle: float
    low: float
    high: float
    seen: tuple[int, int]

    def __str__(self) -> str:
        low, high = self.seen
        return f"usually {low:,} to {high:,}" if low != high else f"usually {low:,}"


def judge(profile: Profile, day: date, is_month_end: bool, past: Sequence[Past]) -> Judgement:
    """Say what of a dataset is not as usual; `past` are the earlier ones of its label, the newest first."""
    rows = _usual_rows(day, past)
    unusual = []
    if rows is not None and not _are_usual(profile.rows, rows, is_month_end, past):
        unusual.append(f"{profile.rows:,} rows, {rows}")
    recent = [one.profile for one in past[:MOST_RECENT]]
    if len(recent) >= LEAST_PAST:
        released = next((one.profile for one in past[:_MOST_SINCE_RELEASE] if one.was_released), None)
        unusual += [*_keys(profile, recent), *_empty_columns(profile, recent, released)]
        if profile.sha256 and profile.sha256 == recent[0].sha256 and not _repeats(recent):
            unusual.append(f"the same content as that of {past[0].day}, which it never had twice")
    return Judgement(unusual, None if rows is None else rows.middle)


def _usual_rows(day: date, past: Sequence[Past]) -> _Range | None:
    """Return what is usual on such a weekday; of all recent days if too few of the weekday are known; None if too few are."""
    ordinary = [one for one in past if not one.is_month_end]
    same = [one.profile.rows for one in ordinary if one.day.weekday() == day.weekday()][:_MOST_OF_A_WEEKDAY]
    if len(same) >= LEAST_PAST:
        return _range(same)
    recent = [one.profile.rows for one in ordinary[:MOST_RECENT]]
    if len(recent) < LEAST_PAST:
        return None
    # They may be of several kinds of days, so whatever was among them without a doubt is usual.
    found = _range(recent)
    believed = [
        one.profile.rows for one in ordinary[:MOST_RECENT] if not (one.was_released or one.was_warned)
    ] or recent
    low, high = min(believed), max(believed)
    low_end, high_end = min(found.low, low * (1 - _SHARE)), max(found.high, high * (1 + _SHARE))
    return found._replace(low=low_end, high=high_end, seen=(low, high))


def _are_usual(number: int, usual: _Range, is_month_end: bool, past: Sequence[Past]) -> bool:
    if usual.low <= number <= usual.high:
        return True
    if is_month_end:
        # So many times the usual of their weekday came at other month ends; how much more may come is known after some.
        times = [one.profile.rows / one.usual_rows for one in past if one.is_month_end and one.usual_rows]
        if len(times) < LEAST_MONTH_ENDS:
            return number > usual.high
        return usual.low * min(times) <= number <= usual.high * max(times)
    # A person let a dataset of another size pass, so those after it may be of that size, until one is as before.
    since: list[float] = []
    for one in past[:_MOST_SINCE_RELEASE]:
        if one.is_month_end or not one.usual_rows:
            continue
        times_usual = one.profile.rows / one.usual_rows
        if one.was_released:
            is_as_before = any(abs(times - 1) <= _SHARE for times in since[-_UNTIL_USUAL:])
            return not is_as_before and usual.low * times_usual <= number <= usual.high * times_usual
        since.append(times_usual)
    return False


def _range(numbers: Sequence[int]) -> _Range:
    middle = median(numbers)
    spread = _TO_DEVIATION * median(abs(number - middle) for number in numbers)
    width = max(_SPREADS * spread, _SHARE * middle, _UNITS)
    low, high = middle - width, middle + width
    inside = [number for number in numbers if low <= number <= high] or numbers
    return _Range(middle, low, high, (min(inside), max(inside)))


def _keys(profile: Profile, recent: Sequence[Profile]) -> Iterable[str]:
    """Yield the columns whose number of different values is not as usual."""
    for name, number in profile.distinct.items():
        numbers = [one.distinct[name] for one in recent if name in one.distinct and one.counted == one.rows]
        if len(numbers) < LEAST_PAST:
            continue
        usual = _range(numbers)
        if not usual.low <= number <= usual.high:
            yield f"{number:,} different values in {name}, {usual}"


def _empty_columns(profile: Profile, recent: Sequence[Profile], released: Profile | None) -> Iterable[str]:
    """Yield the columns that are missing, empty, or much emptier than usual; not those that were so in what was released."""
    for name in dict.fromkeys(name for one in recent for name in one.filled):
        shares = [one.filled[name] / one.counted for one in recent if name in one.filled and one.counted]
        if len(shares) < LEAST_PAST or not profile.counted:
            continue
        filled = profile.filled.get(name, 0)
        usual, share = median(shares), filled / profile.counted
        if released and released.counted and released.filled.get(name, 0) / released.counted <= share + _AS_EMPTY:
            continue
        is_empty = filled == 0 and min(shares) > 0 and usual * profile.counted >= _LEAST_FILLED
        spread = _TO_DEVIATION * median(abs(one - usual) for one in shares)
        is_emptier = (usual - share) > max(_EMPTIER, _SPREADS * spread) and profile.counted >= _LEAST_FILLED
        if is_empty or is_emptier:
            state = f"filled in {share:.0%} of the rows" if name in profile.filled else "missing"
            yield f"{name} is {state}, usually filled in {usual:.0%}"


def _repeats(recent: Sequence[Profile]) -> bool:
    """Return whether a dataset had the content of the one before it."""
    return any(one.sha256 and one.sha256 == before.sha256 for one, before in itertools.pairwise(recent))
