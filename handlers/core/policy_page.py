"""The policy and the directory as one self-contained HTML page: to be read, printed and signed.

Everything on the page comes from the loaded policy, the lists of rules and the directory, and its examples are decided
as it is shown, so it cannot say anything else than what is decided. It loads nothing from anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from html import escape
from itertools import groupby
from typing import Any, Final

from handlers.core.directory import Directory, Line, state_of
from handlers.core.policy import ActionDecision, Decision, Guidance, decide
from handlers.core.policy_case import Case, CaseContext, StatementFound
from handlers.core.policy_consent import scope_of
from handlers.core.policy_model import (
    ACTIONS,
    MAX_CRISIS_OFF,
    MAX_CRISIS_ON,
    SCOPES,
    TIERS,
    Action,
    Done,
    LabelPolicy,
    LoadedPolicy,
    Policy,
    ReaderPolicy,
    Scope,
    Tier,
)
from handlers.core.policy_reading import Rule
from handlers.core.policy_rules import FLAG_RULES, GATES, LINE_RULES, TIER_RULES, UNCERTAINTY_RULES
from handlers.core.schema import Consent
from handlers.core.selfhelp import Catalogue, SelfHelpItem

PRINCIPLES: Final = (
    "A tier names a response, never the health or the risk of a person. No tier withholds help.",
    "What is not known is decided towards help for the person and towards silence for everybody else.",
    "Nobody is told anything without live consent to that very thing. Showing crisis lines tells nobody anything, so "
    "it needs no consent.",
    "One acute entry is enough: it is never averaged away, neither by other labels nor by other days.",
    "The text itself is never read by these rules and cannot give them an instruction; they are told whether "
    "phrases found an explicit statement in it, and of what kind. No notice carries the text, a score or a label.",
    "The software never diagnoses and never calls the police.",
    "Phone numbers come from the directory below and from nowhere else, shown exactly as they stand there.",
    "Every action that is held back is recorded with the reason.",
)

CANNOT_KNOW: Final = (
    "whether a score is right: irony, quotation, fiction, dialect and short texts mislead the models;",
    "whether a person is in danger: somebody in danger may write a text that scores neutral and states nothing;",
    "what is only hinted at: a goodbye, or that others would be better off, is no explicit statement;",
    "whether a therapist or contact has read a notice, or is able to help;",
    "whether a phone line is open, or a number has changed since the date that is shown.",
)

_ACTION_WORDS: Final[dict[Done, str]] = {
    "show_crisis_lines": "Show crisis lines to the person",
    "request_human_review": "Ask a human reviewer to look",
    "offer_self_help": "Offer self-help to the person",
    "notify_therapist": "Notify the person's therapist",
    "alert_contact": "Alert the person's emergency contact",
    "help_link": "Show the general help link",
}
_SCOPE_WORDS: Final[dict[Scope, str]] = {
    "self_help": "The app may offer exercises and ideas.",
    "use_history": "Scores of earlier entries may be looked at.",
    "human_review": "A human reviewer of the service may look at the entry.",
    "notify_therapist": "The therapist may be told whom to call back, and when.",
    "alert_contact": "The emergency contact may be told whom to call, once it is confirmed.",
}
_TIER_WORDS: Final[dict[Tier, str]] = {
    "none": "No escalation",
    "self_help": "Self-help",
    "professional": "Professional help",
    "crisis": "Crisis",
    "emergency_contact": "Emergency contact",
}
UNSIGNED: Final = (
    "Without a signature a reader of suicidal ideation reaches crisis at most: it shows lines, asks for a human review "
    "and may notify a therapist, but none of its scores makes an alert of the contact, not even as a proposal.",
    "A signature holds for one bundle, by the fingerprint of its calibration. Served with another one, the reader is "
    "read as if it were not signed, and every answer and the readiness of the service say so.",
    "The sign command writes down what was read: a policy that was changed after it does not load, and has to be read "
    "and signed again.",
)

FLOOR: Final = (
    "Before and beside the models, phrases in thirteen languages are looked for in every text: that the "
    "writer wishes to die, means or has tried to end their life, or hurts themselves. Where one is found the tier is "
    "crisis at least, whatever the scores say, and also where there are none.",
    "The phrases alone tell nobody anything: a model has to call for the notice as well, or a human reviewer confirm "
    "it for that very entry.",
    "Who objects to being scored (lines_only) still has them looked for, and sees crisis lines.",
)

_SIGNERS: Final = ("Clinician responsible", "Engineer who read it beside them", "Operator of the service")

_STYLE: Final = """
:root { --ink: #1d2733; --soft: #5a6776; --rule: #d5dce4; --tint: #f3f6f9; --warn: #8a4b00; --warn-tint: #fff6e6; }
* { box-sizing: border-box; }
body { font: 15px/1.5 "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: var(--ink); max-width: 60rem;
       margin: 0 auto; padding: 2rem 1.5rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .6rem; padding-bottom: .25rem; border-bottom: 2px solid var(--ink);
     break-after: avoid; }
p, ul, ol { margin: .5rem 0; }
li { margin: .2rem 0; }
.soft, small { color: var(--soft); }
.notice { background: var(--warn-tint); border-left: 5px solid var(--warn); padding: .7rem 1rem; margin: 1rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0; font-size: .93rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid var(--rule); }
thead th { background: var(--tint); border-bottom: 2px solid var(--rule); }
tr { break-inside: avoid; }
tbody.group { break-inside: avoid; }
tbody.group tr:first-child > * { border-top: 2px solid var(--rule); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.nowrap { white-space: nowrap; }
.dial { font-weight: 600; white-space: nowrap; }
code { font: .86em/1.4 ui-monospace, Consolas, Menlo, monospace; background: var(--tint); padding: .05rem .3rem;
       border-radius: 3px; white-space: nowrap; }
code.long { white-space: normal; overflow-wrap: anywhere; }
.sources { color: var(--soft); font-size: .8rem; }
.sources a { color: inherit; }
.off { color: #a40000; font-weight: 600; }
.sign td { height: 3.6rem; vertical-align: bottom; width: 25%; }
@media print {
  body { font-size: 10.5pt; padding: 0; max-width: none; }
  .scroll { overflow: visible; }
  .signature { break-inside: avoid; }
  @page { margin: 16mm; }
}
"""


def render_page(loaded: LoadedPolicy, guidance: Guidance, today: date) -> str:
    """Return the page.

    Args:
        today: the day for which lines are marked as stale, and which the page says it was made on.
    """
    policy = loaded.policy
    sections = (
        _header(loaded, today),
        _section("What holds for every decision", _list(map(escape, PRINCIPLES))),
        _tiers(policy),
        _tier_rules(policy),
        _section("Explicit statements: the floor", _list(map(escape, FLOOR))),
        _thresholds(policy),
        _readers(policy),
        _uncertainty(policy),
        _actions(policy),
        _gates(policy),
        _scopes(),
        _flags(policy),
        _examples(policy, guidance, today),
        _section("What the software cannot know", _list(map(escape, CANNOT_KNOW))),
        _directory(guidance.directory, policy, today),
        _catalogue(guidance.catalogue),
        _signatures(loaded),
    )
    title = escape(f"Escalation policy {policy.id} {policy.version}")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{''.join(sections)}</body>\n</html>\n"
    )


def _header(loaded: LoadedPolicy, today: date) -> str:
    policy = loaded.policy
    facts = (
        ("In force", f"{policy.valid_from} to {policy.valid_until}, both days included"),
        ("Languages that the models read", ", ".join(policy.languages)),
        ("Fingerprint of the file (SHA-256)", _long(loaded.sha256)),
        ("This page was made on", str(today)),
    )
    rows = [[f"<strong>{name}</strong>", value] for name, value in facts]
    switched_off = ", ".join(f"<code>{action}</code>" for action in policy.kill_switch)
    off = f'<p class="notice"><span class="off">Switched off:</span> {switched_off}</p>' if switched_off else ""
    if loaded.is_expired(today):
        off += (
            f'<p class="notice"><span class="off">Expired on {policy.valid_until}:</span> it shows lines and offers, '
            "and tells nobody anything.</p>"
        )
    return (
        f"<h1>Escalation policy <em>{escape(policy.id)}</em> {escape(policy.version)}</h1>\n"
        '<p class="soft">How scores of a text become offers of help. For the reviewer who signs it.</p>\n'
        f'<p class="notice"><strong>Please note.</strong> {escape(policy.note)}</p>\n{off}{_table([], rows)}'
    )


def _tiers(policy: Policy) -> str:
    rows = []
    for tier in TIERS:
        actions = [f"{_ACTION_WORDS[action]} {_needs(policy, action)}" for action in policy.tiers.of(tier)]
        listed = f"<ol>{''.join(f'<li>{action}</li>' for action in actions)}</ol>" if actions else "Nothing is done."
        rows.append([f"<strong>{_TIER_WORDS[tier]}</strong><br><code>{tier}</code>", listed])
    return _section(
        "Tiers and their actions",
        "<p>From the least to the most. The highest tier that any rule finds is the tier of the decision.</p>"
        + _table(["Tier", "Actions, in order"], rows),
    )


def _needs(policy: Policy, action: Action) -> str:
    scope = scope_of(action)
    needs = [] if scope is None else [f"consent to <code>{scope}</code>"]
    accepted = _confirmers(policy, action, "adult")
    if accepted:
        needs.append(f"a confirmation by {_people(accepted)}")
    return f"<small>needs {' and '.join(needs)}</small>" if needs else "<small>needs no consent</small>"


def _confirmers(policy: Policy, action: Action, age_band: str) -> Sequence[str]:
    confirmed_by: Any = getattr(getattr(policy.actions, action), "confirmed_by", None)
    return getattr(confirmed_by, age_band, ())


def _people(accepted: Sequence[str]) -> str:
    words = {"human": "a human reviewer", "user": "the person"}
    return " or ".join(words[who] for who in accepted) or "nobody"


def _tier_rules(policy: Policy) -> str:
    after = (
        "<p>A label is <em>active</em> from its <em>on</em>; one that was active before stays so down to its "
        "<em>off</em>. A model's limit holds for everything that its signals give. Neutral never moves a tier.</p>"
    )
    return _section("How a tier is found", _rules(TIER_RULES, policy) + after)


def _thresholds(policy: Policy) -> str:
    kinds = {"risk": "risk", "crisis": "crisis", "neutral": "neutral: moves no tier"}
    caps = policy.caps()
    rows = [
        [
            f"<code>{name}</code>",
            kinds[label.kind],
            f"<code>{label.means}</code>" if label.means else "",
            *_thresholds_of(label),
            "yes" if label.calibrated else "no",
            f"<code>{caps[name]}</code>",
        ]
        for name, label in policy.labels.items()
    ]
    head = ["Label", "Kind", "Means", "#off", "#on", "#acute_on", "Calibrated", "Reaches at most"]
    return _section(
        "Labels and thresholds",
        "<p>Scores go from 0 to 1. Every threshold is inclusive and nothing is rounded. Where a label is calibrated, "
        "<em>on</em> and <em>off</em> come from the bundle's calibration if it has one. Labels that mean the same "
        "count once, by the highest score. No policy and no calibration may put <em>off</em> of a crisis label above "
        f"{MAX_CRISIS_OFF}, or its <em>on</em> above {MAX_CRISIS_ON}.</p>" + _table(head, rows),
    )


def _readers(policy: Policy) -> str:
    rows = [
        [
            f"<code>{name}</code>",
            ", ".join(f"<code>{signal}</code>" for signal in reader.signals),
            f"<code>{reader.max_tier}</code>" + (" (never read)" if reader.max_tier == "none" else ""),
            _signed_words(policy, name, reader),
            escape(reader.note or ("Part of the bundle." if reader.in_bundle else "")),
        ]
        for name, reader in policy.readers.items()
    ]
    return _section(
        "Readers and signatures",
        _table(["Reader", "Signals", "Highest tier", "Signed for", "Note"], rows) + _list(map(escape, UNSIGNED)),
    )


def _signed_words(policy: Policy, name: str, reader: ReaderPolicy) -> str:
    if not policy.is_crisis_reader(name):
        return "needs no signature"
    signed = reader.signed
    if signed is None:
        return '<span class="off">not signed</span>'
    return (
        f"{escape(signed.by)}, {escape(signed.role)}, {signed.on}<br>"
        f"<small>calibration {_long(signed.calibration_sha256)}</small>"
    )


def _thresholds_of(label: LabelPolicy) -> list[str]:
    """Return off, on and acute_on; neutral has no use for the first and the last."""
    if label.kind == "neutral":
        return ["–", _threshold(label.on), "–"]
    return [_threshold(value) for value in (label.off, label.on, label.acute_on)]


def _threshold(value: float) -> str:
    """Return two digits where they say it all, and every digit where they do not."""
    short = f"{value:.2f}"
    return short if float(short) == value else str(value)


def _uncertainty(policy: Policy) -> str:
    return _section(
        "When something is not known",
        _rules(UNCERTAINTY_RULES, policy)
        + "<p>Then the decision says so, crisis lines are shown, a human review is requested (with consent to it), and "
        "no therapist or contact is told anything. Age, subject, contact safety and language that are not known, and "
        "models that disagree, let nobody but a human reviewer confirm what others would be told.</p>",
    )


def _actions(policy: Policy) -> str:
    rows = []
    for action in ACTIONS:
        needs: Any = getattr(policy.actions, action)
        scope, hours = scope_of(action), getattr(needs, "cool_down_hours", 0.0)
        rows.append(
            [
                f"{_ACTION_WORDS[action]}<br><code>{action}</code>",
                f"<code>{scope}</code>" if scope else "none needed",
                f"{hours:g} h" if hours else "none",
                _people(_confirmers(policy, action, "adult")),
                _people(_confirmers(policy, action, "minor")),
                '<span class="off">switched off</span>' if action in policy.kill_switch else "on",
            ]
        )
    offer = policy.actions.offer_self_help
    head = ["Action", "Consent", "#Cool-down", "Confirmed by: adult", "minor", "Switch"]
    return _section(
        "What each action needs",
        _table(head, rows)
        + "<p>A confirmation is of one action of one entry, lasts 24 hours and is for one use.</p>"
        + f"<p>{_quiet_words(policy)}</p><p>An offer has up to {offer.items} items and ends with the general help "
        f"link, which is shown alone where the offer is suppressed: <code>{escape(offer.help_link)}</code></p>",
    )


def _quiet_words(policy: Policy) -> str:
    quiet = policy.quiet_hours
    if quiet is None:
        return "There are no quiet hours."
    return (
        f"<strong>Quiet hours</strong> are from {_clock(quiet.start)} to {_clock(quiet.end)}, by the clock and offset "
        "from UTC that the app gives as the time of the decision. They defer a notice to the therapist in the tier "
        "<code>professional</code>. Crisis lines and the higher tiers are never deferred."
    )


def _clock(moment: time) -> str:
    return moment.strftime("%H:%M")


def _gates(policy: Policy) -> str:
    return _section(
        "What can hold an action back",
        "<p>In this order: the first that applies decides. An action that passes all of them is planned.</p>"
        + _rules(GATES, policy, ordered=True),
    )


def _scopes() -> str:
    rows = [[f"<code>{scope}</code>", escape(words)] for scope, words in _SCOPE_WORDS.items()]
    return _section(
        "Consent",
        "<p>Given by the person for each scope, with or without an end. What was not given, was taken back or has come "
        "to its end counts as absent.</p>" + _table(["Scope", "What the person agrees to"], rows),
    )


def _flags(policy: Policy) -> str:
    return _section("What the app is told besides", _rules((*FLAG_RULES, *LINE_RULES), policy))


@dataclass(frozen=True)
class _Example:
    title: str
    case: Case


def _examples(policy: Policy, guidance: Guidance, today: date) -> str:
    """Return what this policy decides in one plain case for each tier."""
    rows = []
    for example in _example_cases(policy, today):
        decision = decide(example.case, policy, guidance)
        rows.append([escape(example.title), f"<strong>{_TIER_WORDS[decision.tier]}</strong>", _outcome_words(decision)])
    return _section(
        "Worked examples",
        "<p>Decided by this very policy: an adult who writes in English about themselves, in Great Britain at two in "
        "the afternoon, with every consent and a contact that is safe. Labels that mean the same agree, and every "
        "other score is zero.</p>" + _table(["The entry", "Tier", "What follows"], rows),
    )


def _example_cases(policy: Policy, today: date) -> Iterator[_Example]:
    readable = [(name, label) for name, label in policy.labels.items() if policy.caps()[name] != "none"]
    risk = next(((name, label) for name, label in readable if label.kind == "risk"), None)
    crisis = next(((name, label) for name, label in readable if label.kind == "crisis"), None)
    yield _Example("Nothing stands out", _example(policy, today, {}))
    if risk is not None:
        name, label = risk
        yield _Example(f"{name} at on, {label.on}", _example(policy, today, {name: label.on}))
        yield _Example(f"{name} at acute_on, {label.acute_on}", _example(policy, today, {name: label.acute_on}))
    yield _Example(
        "An explicit statement, and nothing in the scores", _example(policy, today, {}, StatementFound(kinds=("wish",)))
    )
    if crisis is not None:
        name, label = crisis
        yield _Example(f"{name} at off, {label.off}", _example(policy, today, {name: label.off}))
        yield _Example(f"{name} at on, {label.on}", _example(policy, today, {name: label.on}))
        yield _Example(f"{name} at acute_on, {label.acute_on}", _example(policy, today, {name: label.acute_on}))


def _example(policy: Policy, today: date, scores: dict[str, float], statement: StatementFound | None = None) -> Case:
    context = CaseContext(
        now=datetime.combine(today, time(14), UTC),
        country="GB",
        language=policy.languages[0],
        locale="en",
        age_band="adult",
        subject="self",
        contact_unsafe=False,
    )
    consent = Consent.model_validate(dict.fromkeys(SCOPES, True))
    meant = {policy.labels[name].means or name: score for name, score in scores.items()}
    signals: dict[str, float | None] = {
        name: meant.get(label.means or name, 0.0) for name, label in policy.labels.items()
    }
    return Case(entry_id="example", signals=signals, statement=statement, consent=consent, context=context)


def _outcome_words(decision: Decision) -> str:
    items = "".join(f"<li>{_done_words(action)}</li>" for action in decision.actions)
    flags = f"<small>flags: {', '.join(decision.flags)}</small>" if decision.flags else ""
    return (f"<ol>{items}</ol>" if items else "Nothing is done.<br>") + flags


def _done_words(action: ActionDecision) -> str:
    reason = f" ({action.reason})" if action.reason is not None else ""
    return f"{_ACTION_WORDS[action.action]}: {action.status}{reason}"


def _directory(directory: Directory, policy: Policy, today: date) -> str:
    days = policy.actions.show_crisis_lines.max_age_days
    ordered = sorted(directory.lines, key=lambda line: (line.country is None, line.country or "", line.id))
    bodies = "".join(
        _country(country, list(lines), directory, days, today)
        for country, lines in groupby(ordered, key=lambda line: line.country)
    )
    head = "".join(f"<th>{name}</th>" for name in ("Country", "Line", "Call or text", "Hours", "Verified"))
    return _section(
        "Crisis-line directory",
        f'<p class="notice"><strong>To be verified again by the operator before use.</strong> '
        f"{escape(directory.notice)}</p>"
        f"<p>{len(directory.lines)} records. A record older than {days} days is shown with its date beside the "
        "emergency number of the country.</p>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>{bodies}</table></div>'
        f"<p><strong>Emergency numbers</strong>, {_verified_words(directory, today, days)}, from "
        f"{_links(directory.emergency_sources)}: {_numbers(directory)}.</p>"
        "<p>They stand beside every line in crisis, and beside a line that is not open all day or may be out of date. "
        f"Territories that dial a country's numbers: {_territories(directory)}.</p>",
    )


def _verified_words(directory: Directory, today: date, days: int) -> str:
    state = state_of(directory.emergency_verified_at, today, days)
    words = f'<span class="off">{state}</span>' if state else f"verified {directory.emergency_verified_at}"
    return f"{words}, collected {directory.emergency_collected_at}"


def _numbers(directory: Directory) -> str:
    numbers = sorted(directory.emergency.items())
    return ", ".join(f'<span class="nowrap">{code} {escape(number)}</span>' for code, number in numbers)


def _territories(directory: Directory) -> str:
    return ", ".join(f"{code} those of {country}" for code, country in sorted(directory.territories.items())) or "none"


def _country(country: str | None, lines: Sequence[Line], directory: Directory, days: int, today: date) -> str:
    place = "<strong>International</strong>"
    if country is not None:
        place = f"<strong>{country}</strong><br><small>emergency {escape(directory.emergency[country])}</small>"
    rows = []
    for index, line in enumerate(lines):
        first = f'<th scope="rowgroup" rowspan="{len(lines)}">{place}</th>' if index == 0 else ""
        cells = "".join(f"<td>{cell}</td>" for cell in _line_cells(line, days, today))
        rows.append(f"<tr>{first}{cells}</tr>")
    return f'<tbody class="group">{"".join(rows)}</tbody>'


def _line_cells(line: Line, days: int, today: date) -> list[str]:
    ways = [f'<span class="dial">{escape(line.dial)}</span>'] if line.dial else []
    if line.sms_to:
        word = f"{escape(line.sms_body)} to " if line.sms_body else ""
        ways.append(f'text {word}<span class="dial">{escape(line.sms_to)}</span>')
    if not ways and line.url:
        ways.append(_links([line.url]))
    audience = " · for children" if line.audience == "children" else ""
    languages = ", ".join(line.languages)
    state = state_of(line.verified_at, today, days)
    stale = f'<span class="off">{state}</span><br>' if state else ""
    verified = f'<span class="nowrap">{line.verified_at}</span><br>' if line.verified_at is not None else ""
    region = f" · {escape(line.region)}" if line.region else ""
    sources = f'<div class="sources">from {_links(line.sources)}</div>'
    return [
        f"{escape(line.name)}<br><small>{languages}{audience}{region} · {_long(line.id)}</small>{sources}",
        "<br>".join(ways),
        escape(line.hours or "not known"),
        f'{stale}{verified}<small class="nowrap">collected {line.collected_at}</small>',
    ]


def _links(urls: Iterable[str]) -> str:
    return ", ".join(f'<a href="{escape(url)}" rel="noreferrer">{escape(_host(url))}</a>' for url in urls)


def _host(url: str) -> str:
    return url.split("/")[2].removeprefix("www.")


def _catalogue(catalogue: Catalogue) -> str:
    rows = [
        [escape(item.title), _codes(item.labels), _item_conditions(item), f"{item.minutes} min"]
        for item in catalogue.items
    ]
    reviewed = catalogue.reviewed
    return _section(
        "Self-help catalogue",
        f'<p class="notice">{escape(catalogue.notice)}</p>'
        f"<p>Held against the checklist below by {escape(reviewed.by)} ({escape(reviewed.role)}) on {reviewed.on}. "
        "What was offered last comes last.</p>"
        + _table(["Item", "Offered for", "Only", "#Takes"], rows)
        + _list(escape(question.question) for question in catalogue.checklist),
    )


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"<code>{name}</code>" for name in names)


_WHEN_WORDS: Final = {"no_lines": "where no crisis lines are shown", "day": "by day", "evening": "in the evening"}


def _item_conditions(item: SelfHelpItem) -> str:
    ages = {"all": [], "adult": ["for adults"], "minor": ["for minors"]}[item.age]
    conditions = [*ages, *(_WHEN_WORDS[when] for when in item.when)]
    if item.not_for:
        conditions.append(f"not for {_codes(item.not_for)}")
    return ", ".join(conditions)


def _signatures(loaded: LoadedPolicy) -> str:
    policy = loaded.policy
    rows = [[f"<strong>{signer}</strong>", "", "", ""] for signer in _SIGNERS]
    statement = (
        f"I have read policy {escape(policy.id)} {escape(policy.version)} with the fingerprint "
        f"{_long(loaded.sha256)} and the directory above, and I agree to their use from "
        f"{policy.valid_from} to {policy.valid_until}. Every phone number has been called or checked on its "
        "publisher's page."
    )
    table = _table(["", "Name", "Date", "Signature"], rows, kind="sign")
    digest = (
        "<p>Whoever signs for a reader of suicidal ideation gives this code to the <code>sign</code> command, which "
        f"writes the signature into the policy: {_long(policy.digest())}</p>"
    )
    return f'<div class="signature">{_section("Signatures", f"<p>{statement}</p>{table}{digest}")}</div>'


# Pieces of HTML. What they are given is HTML already.


def _long(code: str) -> str:
    return f'<code class="long">{code}</code>'


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>\n{content}\n"


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"


def _rules(rules: Iterable[Rule[Any]], policy: Policy, ordered: bool = False) -> str:
    items = "".join(f"<li>{escape(rule.words(policy))} <code>{rule.id}</code></li>" for rule in rules)
    return f"<ol>{items}</ol>" if ordered else f"<ul>{items}</ul>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """Return a table; a column whose title begins with ``#`` holds numbers."""
    numbers = [name.startswith("#") for name in head] or [False] * len(rows[0])
    titles = (
        "".join(
            f"<th{_NUMBER if number else ''}>{name.removeprefix('#')}</th>"
            for name, number in zip(head, numbers, strict=True)
        )
        if head
        else ""
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{_NUMBER if n else ''}>{cell}</td>" for cell, n in zip(row, numbers, strict=True))
        + "</tr>"
        for row in rows
    )
    named = f' class="{kind}"' if kind else ""
    top = f"<thead><tr>{titles}</tr></thead>" if head else ""
    return f'<div class="scroll"><table{named}>{top}<tbody>{body}</tbody></table></div>'


_NUMBER: Final = ' class="number"'
