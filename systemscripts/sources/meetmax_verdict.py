"""Whether a scan may be published: a change of the site must be seen before it empties the downloads."""

from collections.abc import Collection, Sequence

from systemscripts.errors import JobError
from systemscripts.sources.meetmax import CheckedEvent
from systemscripts.sources.meetmax_journal import Journal


def require_answers(journal: Journal, event_ids: Sequence[int], known: Collection[int], again: str) -> None:
    """Raise JobError for a scan that would empty the downloads though nobody knows that the events are gone.

    What was known counts, beside all that was asked: above the known numbers most are invalid on any day. `again` is
    the command that publishes it all the same, "" where a person has typed it.
    """
    asked = set(known) & set(event_ids)
    failed: list[CheckedEvent] = []
    gone: list[CheckedEvent] = []
    for result in journal.results(event_ids):
        if result.problem:
            failed.append(result)
        elif result.invalid and int(result.event_id) in asked:
            gone.append(result)
    lost = sum(int(result.event_id) in asked for result in failed)
    if 2 * len(failed) > len(event_ids) or 2 * lost > len(asked):
        of_known = f" ({lost} of the {len(asked)} that are known)" if asked else ""
        raise JobError(
            f"{len(failed)} of {len(event_ids)} events gave no clear answer{of_known}, so nothing is published, and the downloads go on "
            f"by the scan before; the last: "
            f"{failed[-1].problem}. Set right what is wrong and start it again: only these are asked then"
        )
    if again and 2 * (len(gone) + lost) > len(asked):
        unclear = f", and {lost} gave no clear answer" if lost else ""
        raise JobError(
            f"{len(gone)} of {len(asked)} known events are gone at once{unclear}: the site may have changed, so nothing is "
            f"published, and the downloads go on by the scan before. Look at {gone[-1].url}; if they are really gone, "
            f"type: {again}"
        )
