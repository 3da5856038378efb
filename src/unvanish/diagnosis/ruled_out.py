"""What was examined and is not the cause, in a few words each: for a diagnosis that is not sure."""

from unvanish.diagnosis.examination import Examination


def ruled_out(seen: Examination) -> tuple[str, ...]:
    found: list[str] = []
    if seen.ending is not None:
        found.append("an output activation that does not fit the loss")
        found.append("shapes that broadcast")
        if not seen.no_leak_seen:
            found.append("samples that depend on each other")
    if seen.parameters is not None:
        found.append("layers that nothing trains")
    if seen.targets is not None:
        found.append("targets that are all the same or sorted")
    if seen.table.steps and seen.origin is None:
        found.append("NaN and infinity")
    found += [f"{name}: it does not learn with that either" for name, learned in seen.changes.items() if not learned]
    if seen.exhausted:
        found.append("other learning rates")
    return tuple(found)
