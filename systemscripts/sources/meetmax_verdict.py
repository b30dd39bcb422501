"""Decide whether a scan may be published: a change of the site must not empty the downloads unnoticed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from systemscripts.errors import JobError
from systemscripts.sources.meetmax import CheckedEvent
from systemscripts.sources.meetmax_journal import Journal
from systemscripts.sources.meetmax_plan import KnownEvent


def require_answers(journal: Journal, event_ids: Sequence[int], known: Mapping[int, KnownEvent], again: str) -> None:
    """Raise JobError for a scan that would empty the downloads although the events may still exist.

    Only known events count, because most other numbers are always invalid; if no event is known, all asked events
    count. `again` is the command that publishes the scan anyway, "" if a person has typed it. The next start asks
    again for answers that are not believed.
    """
    asked = known.keys() & set(event_ids)
    last_failed: CheckedEvent | None = None
    failed = unclear = 0
    gone: list[CheckedEvent] = []
    for result in journal.results(event_ids):
        event = known.get(int(result.event_id))
        if result.problem:
            failed, last_failed, unclear = failed + 1, result, unclear + (event is not None)
        elif event is not None and (result.invalid or (event.has_list and not result.downloadable)):
            gone.append(result)
    if last_failed and (2 * unclear > len(asked) if asked else 2 * failed > len(event_ids)):
        of_known = f" ({unclear} of the {len(asked)} that are known)" if asked else ""
        raise JobError(
            f"{failed} of {len(event_ids)} events gave no clear answer{of_known}, so nothing is published, and the downloads "
            f"keep using the scan before; the last: {last_failed.problem}. Correct the cause and start it again: then "
            "only these are asked"
        )
    if again and 2 * (len(gone) + unclear) > len(asked):
        for result in gone:
            journal.add(replace(result, problem="not believed, because most known events went at once"))
        others = f", and {unclear} gave no clear answer" if unclear else ""
        raise JobError(
            f"{len(gone)} of {len(asked)} known events, or their lists, are gone at once{others}: the site may have changed, "
            f"so nothing is published, and the downloads keep using the scan before. Look at {gone[-1].url}; if the site "
            f"had a failure, start it again to ask them again; if they are really gone, type: {again}"
        )
