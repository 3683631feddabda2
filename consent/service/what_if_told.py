"""What a change would do, told: as lines for people and as CSV for spreadsheets."""

import csv
import io

from consent.service.what_if import BY, Side, WhatIf

_NAMES = (("newly denied", "denied"), ("newly permitted", "permitted"))
_MOST_LINES = 15


def lines_of(found: WhatIf) -> list[str]:
    """Tell what was counted; of each table the codes with most decisions."""
    what = [f"policy {found.policy}"] if found.policy else []
    if any(found.agreements.values()):
        what.append(
            "agreements: " + ", ".join(f"{count} {state}" for state, count in found.agreements.items())
        )
    left_out = sum(found.not_replayable.values())
    lines = [
        f"{found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC; {'; '.join(what) or 'no change'}",
        f"{found.replayed:,} decisions replayed, {found.changed:,} come out otherwise; {left_out:,} cannot be replayed",
    ]
    lines += [f"  {count:>10,}  {reason}" for reason, count in sorted(found.not_replayable.items())]
    for name, attribute in _NAMES:
        side: Side = getattr(found, attribute)
        lines += [
            "",
            f"{name.capitalize()}: {side.decisions:,} decisions ({side.wholly:,} wholly), {side.cells:,} cells",
        ]
        if not side.decisions:
            continue
        for by in BY:
            order = sorted(side.by[by].items()) if by == "hour" else side.by[by].most_common(_MOST_LINES)
            lines += [f"  {by:<10}{count:>10,}  {code}" for code, count in order]
        lines += [f"  for example `consent explain {number}`" for number in side.as_json()["examples"]]
    return lines


def csv_of(found: WhatIf) -> str:
    """Write every count: what (newly denied, newly permitted, not replayable), by, code, decisions."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(("what", "by", "code", "decisions"))
    for name, attribute in _NAMES:
        side: Side = getattr(found, attribute)
        table.writerow((name, "total", "", side.decisions))
        for by in BY:
            table.writerows((name, by, code, count) for code, count in sorted(side.by[by].items()))
    table.writerow(("replayed", "total", "", found.replayed))
    table.writerows(
        ("not replayable", "reason", code, count) for code, count in sorted(found.not_replayable.items())
    )
    return out.getvalue()
