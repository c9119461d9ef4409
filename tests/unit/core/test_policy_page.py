"""The page for the reviewer: whole, self-contained, and about this policy and directory."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from html import unescape
from html.parser import HTMLParser
from typing import Any

from handlers.core.policy_model import ACTIONS, SCOPES, TIERS, LoadedPolicy, Policy
from handlers.core.policy_page import FLOOR, UNSIGNED, render_page
from handlers.core.policy_rules import FLAG_RULES, GATES, LINE_RULES, TIER_RULES, UNCERTAINTY_RULES
from tests.unit.core.policies import CATALOGUE, DIRECTORY, GUIDANCE, POLICY, SIGNED, TODAY, policy_with

VOID = {"meta", "br"}


class Page(HTMLParser):
    """Reads a page strictly: every element is closed, in order; collects text and what would be loaded."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        if tag in {"script", "img", "link", "iframe"}:
            self.loads.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += f" {data}"


def page(policy: Policy = POLICY, today: date = TODAY) -> Page:
    return Page(render_page(LoadedPolicy(policy, "ab" * 32), GUIDANCE, today))


def words(of: Page) -> str:
    return " ".join(of.text.split())


def test_the_page_is_well_formed_and_loads_nothing() -> None:
    html = render_page(LoadedPolicy(POLICY, "ab" * 32), GUIDANCE, TODAY)

    assert Page(html).loads == []
    assert "url(" not in html and "@import" not in html and "src=" not in html


def test_it_says_which_policy_is_to_be_signed_and_by_whom() -> None:
    text = words(page())

    assert text.count("ab" * 32) == 2
    for part in ("default", "2.0.0", "2025-01-01 to 2029-12-31", POLICY.note, "Clinician responsible", "Signature"):
        assert part in text


def test_every_rule_tier_action_scope_and_threshold_is_on_it() -> None:
    text = words(page())

    for rules in (TIER_RULES, UNCERTAINTY_RULES, FLAG_RULES, GATES, LINE_RULES):
        for rule in rules:
            assert f"{rule.words(POLICY)} {rule.id}" in text
    for name in (*TIERS, *ACTIONS, *SCOPES, *POLICY.labels, *POLICY.readers):
        assert f" {name} " in text
    assert "depressed risk depression 0.55 0.70 0.90 yes professional" in text
    assert "suicidal_ideation crisis 0.35 0.50 0.80 no crisis" in text
    assert "from 22:00 to 07:00" in text
    assert "24 h" in text


def test_every_line_of_the_directory_is_on_it_with_its_date_and_the_notice() -> None:
    text = words(page())

    assert "To be verified again by the operator before use." in text
    assert DIRECTORY.notice in text
    for line in DIRECTORY.lines:
        assert line.name in text and line.id in text and f"collected {line.collected_at}" in text
        assert all(number in text for number in (line.dial, line.sms_to) if number)
    assert text.count("never verified") == len(DIRECTORY.lines) + 1  # and the emergency numbers
    assert all(f"{code} {number}" in text for code, number in DIRECTORY.emergency.items())
    assert "GG those of GB" in text


def test_lines_that_are_too_old_are_marked() -> None:
    lines = tuple(line.model_copy(update={"verified_at": date(2026, 2, 1)}) for line in DIRECTORY.lines)
    verified = {"lines": lines, "emergency_verified_at": date(2026, 2, 1)}
    guidance = replace(GUIDANCE, directory=DIRECTORY.model_copy(update=verified))
    loaded = LoadedPolicy(POLICY, "ab" * 32)

    fresh, old = (words(Page(render_page(loaded, guidance, today))) for today in (TODAY, date(2029, 1, 1)))

    assert "never verified" not in fresh and "older than allowed" not in fresh
    assert old.count("older than allowed") == len(DIRECTORY.lines) + 1


def test_it_says_who_signs_for_which_reader_and_what_an_unsigned_policy_may_not_do() -> None:
    unsigned, signed = words(page()), words(page(SIGNED))

    assert all(" ".join(one.split()) in unsigned for one in (*UNSIGNED, *FLOOR))
    assert "conditions depression , anxiety , bipolar , suicidal_ideation crisis not signed" in unsigned
    assert "emergency_contact A. Reviewer, clinician, 2026-02-01" in signed
    assert "sentiment neutral , depressed , anxious , stressed professional needs no signature" in unsigned
    assert POLICY.digest() in unsigned


def test_its_examples_are_decided_by_this_very_policy() -> None:
    unsigned, signed = words(page()), words(page(SIGNED))

    assert "Nothing stands out No escalation Nothing is done." in unsigned
    assert (
        "An explicit statement, and nothing in the scores Crisis Show crisis lines to the person: planned" in unsigned
    )
    assert "Notify the person's therapist: suppressed (floor_only)" in unsigned
    assert "suicidal_ideation at acute_on, 0.8 Crisis" in unsigned
    assert "suicidal_ideation at acute_on, 0.8 Emergency contact" in signed
    assert "Alert the person's emergency contact: proposed" in signed
    assert (
        "depressed at on, 0.7 Self-help Offer self-help to the person: planned Show the general help link" in unsigned
    )


def test_without_a_risk_or_crisis_label_there_is_no_example_of_one() -> None:
    neutral = {name: label.model_copy(update={"kind": "neutral"}) for name, label in POLICY.labels.items()}
    text = words(page(POLICY.model_copy(update={"labels": neutral})))

    assert "Nothing stands out" in text and "at acute_on, " not in text


def test_an_expired_policy_says_so() -> None:
    text = words(page(today=date(2030, 1, 1)))

    assert "Expired on 2029-12-31: it shows lines and offers, and tells nobody anything." in text
    assert "Expired on" not in words(page())


def test_the_catalogue_says_for_whom_an_item_is_and_what_it_was_held_against() -> None:
    text = words(page())

    assert "for minors" in text and "not for bipolar" in text and "where no crisis lines are shown" in text
    assert all(question.question in text for question in CATALOGUE.checklist)


def test_the_page_follows_the_policy() -> None:
    changes: dict[str, Any] = {"kill_switch": ["alert_contact"], "quiet_hours": None, "labels__depressed__on": "0.6543"}
    text = words(page(policy_with(note="Signed <b>by nobody</b>", **changes)))

    assert "Switched off: alert_contact" in text and "switched off" in text
    assert "There are no quiet hours." in text
    assert "0.6543" in text
    assert "Signed <b>by nobody</b>" in unescape(text)
