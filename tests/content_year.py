"""A simulated year of sixty feeds: how many planted faults are found on the day, and how many right files are called unusual."""

import random
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from typing import NamedTuple

from systemscripts.importing.usual import Past, Profile, judge


def profile(rows: int, filled: float = 1.0, keys: int | None = None, content: str | None = None) -> Profile:
    return Profile(rows, rows, {"price": round(rows * filled)}, {} if keys is None else {"ticker": keys}, content)


YEAR = [day for day in (date(2026, 1, 1) + timedelta(days=n) for n in range(365)) if day.weekday() < 5]
MONTH_ENDS = {max(day for day in YEAR if day.month == month) for month in range(1, 13)}
FAULTS = ("half", "doubled", "an empty column", "the day before again", "a tenth")


class Feed(NamedTuple):
    """How a simulated feed behaves: its size, its noise, its growth a day, its Mondays and its month ends."""

    size: int
    noise: float
    growth: float
    on_mondays: float
    at_month_ends: float
    shrinks_on: date | None

    def rows(self, day: date, number: int, chance: random.Random) -> int:
        size = self.size * (1 + self.growth) ** number * (self.on_mondays if day.weekday() == 0 else 1)
        size *= self.at_month_ends if day in MONTH_ENDS else 1
        size *= 0.5 if self.shrinks_on and day >= self.shrinks_on else 1
        return max(1, round(size * (1 + self.noise * chance.gauss(0, 1))))


class Year(NamedTuple):
    planted: Counter[str]
    found: Counter[str]
    false_alarms: int


def feeds(chance: random.Random, number: int = 60) -> Iterator[Feed]:
    for _ in range(number):
        yield Feed(
            size=chance.choice([40, 120, 300, 1_000, 20_000]),
            noise=chance.choice([0, 0.01, 0.03, 0.06]),
            growth=chance.choice([0, 0, 0.001, -0.001, 0.003]),
            on_mondays=chance.choice([1, 1, 1, 3]),
            at_month_ends=chance.choice([1, 1, 2, 4]),
            shrinks_on=chance.choice([None] * 5 + [chance.choice(YEAR[60:200])]),
        )


def simulate(seed: int, faults: int = 320) -> Year:
    """Let 60 feeds come for a year; a person releases what is right, and what is wrong counts for nothing."""
    chance = random.Random(seed)
    all_feeds = list(feeds(chance))
    after_start = YEAR[50:]
    wrong = {
        (chance.randrange(len(all_feeds)), chance.choice(after_start)): chance.choice(FAULTS) for _ in range(faults)
    }
    planted: Counter[str] = Counter()
    found: Counter[str] = Counter()
    false_alarms = 0
    for index, feed in enumerate(all_feeds):
        before: list[Past] = []
        for number, day in enumerate(YEAR):
            rows = feed.rows(day, number, chance)
            right = profile(rows, filled=0.95, content=f"{index} {day}")
            is_end = day in MONTH_ENDS
            fault = wrong.get((index, day))
            if fault:
                came = {
                    "half": profile(rows // 2, 0.95, content="half"),
                    "doubled": profile(rows * 2, 0.95, content="doubled"),
                    "a tenth": profile(rows // 10, 0.95, content="tenth"),
                    "an empty column": profile(rows, 0, content="empty"),
                    "the day before again": before[0].profile,
                }[fault]
                planted[fault] += 1
                found[fault] += bool(judge(came, day, is_end, before).unusual)
            judgement = judge(right, day, is_end, before)
            has_shrunk = feed.shrinks_on == day
            false_alarms += bool(judgement.unusual) and not has_shrunk and not fault
            released = bool(judgement.unusual)
            before.insert(0, Past(day, is_end, right, judgement.usual_rows, released))
            del before[130:]
    return Year(planted, found, false_alarms)
