"""One decision in words, for a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from handlers.core.directory import ShownLine
from handlers.core.policy import ActionDecision, Fired, Trace
from handlers.core.policy_model import LoadedPolicy

WIDTH: Final = 80


def explain(trace: Trace, loaded: LoadedPolicy) -> str:
    """Return the decision with the rules that led to it, the thresholds they compared with, and what was held back."""
    return "\n".join(
        line
        for part in (
            _title(trace, loaded),
            _statement(trace),
            _scores(trace),
            _tier(trace),
            _named("NOT KNOWN", trace.uncertainty),
            _named("FLAGS", trace.flags),
            _actions(trace),
            _lines(trace),
            _because(trace),
        )
        for line in part
    )


def _title(trace: Trace, loaded: LoadedPolicy) -> Iterator[str]:
    case, policy = trace.reading.case, loaded.policy
    names = [f"{what} {_printable(name)}" for what, name in (("case", case.id), ("entry", case.entry_id)) if name]
    yield from _wrap(f"{', '.join(names) or 'a case without an id'}: {trace.decision.tier}", "", "  ")
    yield from _wrap(f"policy {policy.id} {policy.version}, sha256 {loaded.sha256[:16]}", "  ", "    ")
    yield from _wrap("A tier names a response, never the risk or the health of a person.", "  ", "    ")


def _scores(trace: Trace) -> Iterator[str]:
    yield from _heading("SCORES")
    reading = trace.reading
    for name, label in reading.labels.items():
        score = reading.scores.get(name)
        state = ", active" if name in reading.active else ""
        yield from _wrap(f"{name} {'not read' if score is None else score}{state}", "  ", "    ")
        thresholds = f"off {label.off}, on {label.on}, acute_on {label.acute_on}"
        yield from _wrap(f"{label.kind}: {thresholds}; reaches {reading.caps[name]} at most", "      ", "      ")


def _statement(trace: Trace) -> Iterator[str]:
    found = trace.reading.case.statement
    if found is None:
        return
    yield from _heading("EXPLICIT STATEMENT")
    yield from _wrap(f"{', '.join(found.kinds)}; in {', '.join(found.languages) or 'a language not given'}", "  ", "  ")
    yield from _wrap(f"called for by the scores alone: {trace.readers_tier}", "  ", "      ")


def _tier(trace: Trace) -> Iterator[str]:
    yield from _heading("TIER")
    yield from _wrap(trace.decision.tier, "  ", "  ")
    for finding in trace.findings:
        capped = "" if finding.tier == finding.uncapped else f", capped from {finding.uncapped} by max_tier"
        yield from _wrap(f"{finding.rule} -> {finding.tier}{capped}", "  ", "      ")
        yield from _wrap(finding.why, "      ", "      ")
    if trace.decision.care_until is not None:
        yield from _wrap(f"crisis lines stay in sight until {trace.decision.care_until}", "  ", "      ")
    if not trace.findings:
        yield from _wrap("no rule found a reason for a tier", "  ", "      ")


def _named(title: str, fired: Sequence[Fired]) -> Iterator[str]:
    if fired:
        yield from _heading(title)
    for one in fired:
        yield from _wrap(f"{one.rule}: {one.why}", "  ", "      ")


def _actions(trace: Trace) -> Iterator[str]:
    yield from _heading("ACTIONS")
    gates = {fired.action: fired for fired in trace.gates}
    for action in trace.decision.actions:
        yield from _wrap(_action_words(action), "  ", "      ")
        gate = None if action.action == "help_link" else gates.get(action.action)
        if gate is not None:
            yield from _wrap(f"{gate.rule}: {gate.why}", "      ", "      ")
    if not trace.decision.actions:
        yield "  none"


def _action_words(action: ActionDecision) -> str:
    words = [f"{action.status:<10} {action.action}"]
    if action.reason is not None:
        words.append(f"because of {action.reason}")
    if action.not_before is not None:
        words.append(f"not before {action.not_before}")
    if action.not_after is not None:
        words.append(f"not after {action.not_after}")
    if action.items is not None:
        words.append(f"items {', '.join(action.items)}")
    if action.url is not None:
        words.append(action.url)
    return "; ".join(words)


def _lines(trace: Trace) -> Iterator[str]:
    if not trace.decision.lines:
        return
    yield from _heading("LINES")
    for line in trace.decision.lines:
        yield from _wrap(f"{line.name} ({line.id})", "  ", "      ")
        for way in _ways(line):
            yield f"      {way}"
        age = _age(line)
        yield from _wrap(f"{line.hours or 'hours not known'}; {age}", "      ", "      ")
    for fired in trace.lines:
        yield from _wrap(f"{fired.rule}: {fired.why}", "  ", "      ")


def _age(line: ShownLine) -> str:
    if line.verified_at is None:
        return f"collected {line.collected_at} and never verified"
    return f"verified {line.verified_at}{', which is too long ago' if line.stale else ''}"


def _because(trace: Trace) -> Iterator[str]:
    if trace.decision.because:
        yield from _heading("WHAT THE PERSON IS TOLD")
    for sentence in trace.decision.because:
        yield from _wrap(f"{sentence.text} ({sentence.rule}, {sentence.language})", "  ", "      ")


def _ways(line: ShownLine) -> Iterator[str]:
    """Yield each number on a line of its own, as a number that is wrapped is no longer as it was published."""
    if line.dial is not None:
        yield f"call {line.dial}"
    if line.sms_to is not None:
        yield f"text {line.sms_body} to {line.sms_to}" if line.sms_body else f"text {line.sms_to}"
    if line.url is not None:
        yield line.url
    if line.emergency is not None:
        yield f"emergency {line.emergency}"


def _heading(title: str) -> Iterator[str]:
    yield ""
    yield title


def _wrap(text: str, first: str, others: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=others, break_on_hyphens=False)


def _printable(name: str) -> str:
    """Return an identifier that cannot move the cursor or colour the terminal."""
    return name if name.isprintable() else ascii(name)
