"""The invented events and companies of the stand-in MeetMax site, on day 1 and on day 2.

Headings are spelled as on the real site, and differ from event to event as they do there. All
companies are made up. Everything follows from the tables below; nothing depends on chance or time.
"""

import random
from dataclasses import dataclass

DAYS = (1, 2)
FIRST_EVENT_ID = 119230
LAST_EVENT_ID = 119275

Row = dict[str, str]  # heading (as in the file, "" for a column without one) -> text
Change = tuple[str, str, str, str]  # event id, company and ticker in upper case, "added" or "removed"

LONG_DESCRIPTION = (
    "Develops instruments that count what others estimate, for laboratories, mills and ports; "
    "founded by engineers, listed since 2011, and profitable in each year but one. "
) * 17
DESCRIPTION_LENGTH = 2700


@dataclass(frozen=True)
class Company:
    """`market_cap` is in millions of US dollars, as the shortest text of the number; "" where unknown."""

    name: str
    ticker: str
    market_cap: str
    sector: str
    description: str = "A company made up for this demonstration."


@dataclass(frozen=True)
class Event:
    """How an event looks (`page`) and what its file really is (`file`).

    page: plain, export, private, redirect, link or empty; file: biff, ooxml, csv, html, vanished or "".
    `added` and `removed` are numbers of companies that change on day 2; `from_day` is when it appears.
    """

    event_id: str
    title: str
    page: str
    file: str = ""
    columns: str = "A"
    size: int = 0
    added: int = 0
    removed: int = 0
    special: bool = False
    from_day: int = 1


COLUMNS: dict[str, tuple[str, ...]] = {
    "A": ("Company Name", "Ticker", "Market Cap ($MM)", "Sector", "Participation"),
    "B": ("Company/Organization", "Company Ticker", "Mkt Cap (USD$M)", "Industry", "", "Available for 1x1s?"),
    "C": ("Company Name", "Ticker", "Market Cap", "Company Description (Bio)", "Sub-Sector"),
    "D": (
        "Company/Organization",
        "Ticker",
        "Market Cap (In USD $M unless otherwise noted)",
        "Organization Description",
        "Country/Market",
        "Participation Days:",
    ),
    "E": (
        "Company Name",
        "Ticker",
        "Market Cap ($'M)",
        "Do you want to host a Q&A Breakout Session?",
        "Do you want 1x1s with institutional equity investors?",
        "Meeting Date & Time",
    ),
    "F": ("Company Name", "Company Ticker", "Market Cap (EURm)", "Stock Exchange", "", "Just hosting 1 on 1's"),
}
COMPANY_HEADINGS = ("Company Name", "Company/Organization")
TICKER_HEADINGS = ("Ticker", "Company Ticker")

EVENTS = (
    Event("119230", "Company List", "plain", "biff", "A", 14, added=2, removed=1),
    Event("119232", "Spring Growth Conference", "export", "biff", "B", 11, added=1, removed=1),
    Event("119233", "Company List", "plain", "ooxml", "C", 12, added=2, removed=1, special=True),
    Event("119234", "Harbour Private Markets Day", "private", "biff", "A", 8, added=1),
    Event("119235", "Company List", "redirect", "ooxml", "D", 10, removed=2),
    Event("119237", "Northern Mining Forum", "link", "biff", "F", 9),
    Event("119238", "Autumn Technology Days", "empty"),
    Event("119239", "Company List", "plain", "csv", "A", 13, added=1, removed=1, special=True),
    Event("119240", "Company List", "plain", "html", "E", 9, added=1),
    Event("119241", "Medical Devices Summit", "plain", "biff", "C", 7, added=1, removed=1),
    Event("119242", "Company List", "export", "csv", "D", 8),
    Event("119243", "Global Healthcare Conference", "plain", "biff", "A", 45, added=3, removed=3, special=True),
    Event("119245", "Company List", "plain", "vanished"),
    Event("119246", "Consumer & Retail Forum", "redirect", "html", "A", 8, removed=1),
    Event("119247", "Company List", "private", "ooxml", "B", 9),
    Event("119248", "Energy Transition Day", "plain", "biff", "F", 12),
    Event("119250", "Company List", "plain", "biff", "A", 6, from_day=2),
    Event("119251", "Company List", "export", "ooxml", "E", 10, added=1, removed=1),
    Event("119252", "Winter Biotech Week", "export", "ooxml", "C", 9, added=1),
    Event("119254", "Company List", "plain", "biff", "D", 10, added=2),
    Event("119255", "Virtual Software Day", "link", "csv", "B", 7, removed=1),
    Event("119256", "Company List", "empty"),
    Event("119257", "Small Cap Showcase", "plain", "biff", "A", 16, added=1, removed=2),
    Event("119260", "Company List", "plain", "ooxml", "F", 8),
    Event("119261", "Industrials Field Trip", "export", "biff", "E", 6, added=1),
    Event("119263", "Company List", "redirect", "biff", "A", 11, removed=1),
    Event("119264", "Payments & Fintech Forum", "plain", "ooxml", "B", 9, added=1, removed=1),
    Event("119267", "Company List", "plain", "html", "D", 7),
    Event("119270", "Real Estate Roundtable", "private", "csv", "A", 8, added=1),
    Event("119273", "Company List", "plain", "biff", "C", 10, removed=1),
    Event("119275", "Gold & Silver Summit", "export", "biff", "F", 9, added=1, removed=1),
)

# What breaks careless programs: NA and digits as tickers, leading zeros, quotes, é, line breaks, long text.
SPECIAL = (
    Company("3Sora Bio Inc.", "1530", "5221.86", "Biotechnology"),
    Company("Narvane Analytics", "NA", "88", "Software"),
    Company("Zerovane Holdings", "003984", "12.5", "Industrials", "First line\nsecond line, after a break"),
    Company("Quillonis Instruments", "QLN", "640", "Industrials", LONG_DESCRIPTION[:DESCRIPTION_LENGTH]),
    Company("Kestrin Labs, Inc.", "KSTL", "4438.43", "Biotechnology"),
    Company("Kestrin Labs, Inc. - Business Development", "KSTL", "4438.43", "Biotechnology"),
)
# Is on the special lists from day 2.
LATECOMER = Company('Société "Lumière" Biotech, S.A.', "LUMB FP", "1017.26", "Biotechnology", "Café, thé & santé")

_NAMES = (
    *("Alderwick", "Brontelle", "Corvantis", "Dunmere", "Elarion", "Fennoway", "Gravelin", "Hexmoor", "Ilvestra"),
    *("Jorvane", "Krellan", "Lumereth", "Marrowby", "Nordhage", "Ostrelle", "Pellamar", "Quorrin", "Ravensky"),
    *("Solvaine", "Tarquay", "Umbrecht", "Velloria", "Wrenhall", "Xandoria", "Yarrowin", "Zephrant"),
)
_KINDS = (
    ("Therapeutics, Inc.", "T", "Biotechnology"),
    ("Mining Corp.", "M", "Metals & Mining"),
    ("Software Ltd", "S", "Software"),
    ("Energy PLC", "E", "Energy"),
)


def _pool() -> list[Company]:
    """Return a hundred companies, one in five of them private and without a market capitalisation."""
    companies = []
    for number, (name, (kind, letter, sector)) in enumerate((name, kind) for name in _NAMES for kind in _KINDS):
        private = number % 5 == 4
        ticker = "Private" if private else name[:3].upper() + letter + (" US", "", " LN")[number % 3]
        market_cap = "" if private else f"{40 + number * 137.25:g}"
        companies.append(Company(f"{name} {kind}", ticker, market_cap, sector))
    return companies


def _on_list(event: Event, day: int) -> tuple[list[Company], list[Company]]:
    """Return the companies on the event's list on that day, and those that came or went on day 2."""
    drawn = random.Random(int(event.event_id)).sample(_pool(), event.size + event.added)
    newcomers = drawn[event.size :]
    leavers = drawn[: event.removed]
    staying = drawn[event.removed : event.size]
    if event.special:
        staying = [*SPECIAL, *staying]
        newcomers = [*newcomers, LATECOMER]
    present = leavers + staying if day == 1 else staying + newcomers
    return sorted(present, key=lambda company: company.name), newcomers if day == 2 else leavers


def events_of(day: int) -> dict[str, Event]:
    """Return the events that exist on that day, by id."""
    return {event.event_id: event for event in EVENTS if event.from_day <= day}


def company_lists(day: int) -> dict[str, list[Row]]:
    """Return the rows of every event's file on that day, as exact text; an event without a file is left out."""
    lists = {}
    for event in events_of(day).values():
        if event.file:
            lists[event.event_id] = [_row(event, company) for company in _on_list(event, day)[0]]
    return lists


def expected_changes() -> set[Change]:
    """Return what differs between the lists of day 1 and of day 2."""
    changes = set()
    for event in EVENTS:
        came = _on_list(event, 2)[0 if event.from_day == 2 else 1]
        gone = [] if event.from_day == 2 else _on_list(event, 1)[1]
        for scenario, companies in (("added", came), ("removed", gone)):
            changes |= {(event.event_id, one.name.upper(), one.ticker.upper(), scenario) for one in companies}
    return changes


def _row(event: Event, company: Company) -> Row:
    number = sum(company.name.encode())
    values = {
        "Sector": company.sector,
        "Industry": company.sector,
        "Sub-Sector": company.sector,
        "Participation": ("Presentation and 1x1s", "1x1s Only")[number % 2],
        "": ("", "confirmed")[number % 2],
        "Available for 1x1s?": ("Yes", "No")[number % 2],
        "Company Description (Bio)": company.description,
        "Organization Description": company.description,
        "Country/Market": ("US", "NA", "Québec", "")[number % 4],
        "Participation Days:": f"0{1 + number % 3}",
        "Do you want to host a Q&A Breakout Session?": ("Yes", "No", "")[number % 3],
        "Do you want 1x1s with institutional equity investors?": ("No", "Yes")[number % 2],
        "Meeting Date & Time": f"3/{1 + number % 28} 9:30 AM",
        "Stock Exchange": ("TSX-V", "LSE", "NYSE")[number % 3],
        "Just hosting 1 on 1's": ("X", "")[number % 2],
    }
    for heading in COLUMNS[event.columns]:
        if heading in COMPANY_HEADINGS:
            values[heading] = company.name
        elif heading in TICKER_HEADINGS:
            values[heading] = company.ticker
        elif is_number(heading):
            values[heading] = company.market_cap
    return {heading: values[heading] for heading in COLUMNS[event.columns]}


def is_number(heading: str) -> bool:
    """Return whether workbooks hold numbers below this heading."""
    return heading.lower().startswith(("market cap", "mkt cap"))
