"""The page for the reviewer: whole, self-contained, and about this policy and directory."""

from __future__ import annotations

from datetime import date
from html import unescape
from html.parser import HTMLParser
from typing import Any

from handlers.core.policy_model import ACTIONS, SCOPES, TIERS, LoadedPolicy, Policy
from handlers.core.policy_page import render_page
from handlers.core.policy_rules import FLAG_RULES, GATES, LINE_RULES, TIER_RULES, UNCERTAINTY_RULES
from tests.unit.core.policies import CATALOGUE, DIRECTORY, POLICY, TODAY, policy_with

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
    return Page(render_page(LoadedPolicy(policy, "ab" * 32), DIRECTORY, CATALOGUE, today))


def words(of: Page) -> str:
    return " ".join(of.text.split())


def test_the_page_is_well_formed_and_loads_nothing() -> None:
    html = render_page(LoadedPolicy(POLICY, "ab" * 32), DIRECTORY, CATALOGUE, TODAY)

    assert Page(html).loads == []
    assert "url(" not in html and "@import" not in html and "src=" not in html


def test_it_says_which_policy_is_to_be_signed_and_by_whom() -> None:
    text = words(page())

    assert text.count("ab" * 32) == 2
    for part in ("default", "1.0.0", "2025-01-01 to 2029-12-31", POLICY.note, "Clinician responsible", "Signature"):
        assert part in text


def test_every_rule_tier_action_scope_and_threshold_is_on_it() -> None:
    text = words(page())

    for rules in (TIER_RULES, UNCERTAINTY_RULES, FLAG_RULES, GATES, LINE_RULES):
        for rule in rules:
            assert f"{rule.words(POLICY)} {rule.id}" in text
    for name in (*TIERS, *ACTIONS, *SCOPES, *POLICY.labels, *POLICY.models):
        assert f" {name} " in text
    assert "depressed risk 0.55 0.70 0.90 yes professional" in text
    assert "suicidal_ideation crisis 0.35 0.50 0.80 no emergency_contact" in text
    assert "from 22:00 to 07:00" in text
    assert "24 h" in text


def test_every_line_of_the_directory_is_on_it_with_its_date_and_the_notice() -> None:
    text = words(page())

    assert "To be verified again by the operator before use." in text
    assert DIRECTORY.notice in text
    for line in DIRECTORY.lines:
        assert line.name in text and line.id in text and str(line.verified_at) in text
        assert all(number in text for number in (line.dial, line.sms_to) if number)
    assert "older than allowed" not in text


def test_lines_that_are_too_old_are_marked() -> None:
    assert words(page(today=date(2029, 1, 1))).count("older than allowed") == len(DIRECTORY.lines)


def test_the_page_follows_the_policy() -> None:
    changes: dict[str, Any] = {"kill_switch": ["alert_contact"], "quiet_hours": None, "labels__depressed__on": "0.6543"}
    text = words(page(policy_with(note="Signed <b>by nobody</b>", **changes)))

    assert "Switched off: alert_contact" in text and "switched off" in text
    assert "There are no quiet hours." in text
    assert "0.6543" in text
    assert "Signed <b>by nobody</b>" in unescape(text)
