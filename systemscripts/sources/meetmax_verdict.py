"""Whether a scan may be published: a change of the site must be seen before it empties the downloads."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from systemscripts.errors import JobError
from systemscripts.sources.meetmax import CheckedEvent
from systemscripts.sources.meetmax_journal import Journal
from systemscripts.sources.meetmax_plan import KnownEvent


def require_answers(journal: Journal, event_ids: Sequence[int], known: Mapping[int, KnownEvent], again: str) -> None:
    """Raise JobError for a scan that would empty the downloads though nobody knows that the events are gone.

    What was known counts: of the other numbers most are invalid on any day. Where nothing was known, what was asked
    does. `again` is the command that publishes the scan all the same, "" where a person has typed it. Answers that are
    not believed are asked for again by the next start.
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
            f"go on by the scan before; the last: {last_failed.problem}. Set right what is wrong and start it again: only "
            "these are asked then"
        )
    if again and 2 * (len(gone) + unclear) > len(asked):
        for result in gone:
            journal.add(replace(result, problem="not believed, because most known events went at once"))
        others = f", and {unclear} gave no clear answer" if unclear else ""
        raise JobError(
            f"{len(gone)} of {len(asked)} known events, or their lists, are gone at once{others}: the site may have changed, "
            f"so nothing is published, and the downloads go on by the scan before. Look at {gone[-1].url}; if that was "
            f"a trouble of the site, start it again, and they are asked again; if they are really gone, type: {again}"
        )
