"""What a record keeps of a case: all that decides, and nothing else."""

from __future__ import annotations

from handlers.core.policy_model import LoadedPolicy
from handlers.core.policy_replay import recordable
from tests.unit.core.policies import ALL, GUIDANCE, NOW, POLICY, case, entry

LOADED = LoadedPolicy(POLICY, "0" * 64)
DAY = "2026-02-28T08:00:00Z"


def test_of_the_history_only_what_counts_is_kept_and_under_other_names() -> None:
    history = [
        entry("mine", DAY, depressed=0.6, anxious=0.1, neutral=0.9),
        entry("calm", DAY, depressed=0.1),
        entry("old", "2026-01-01T08:00:00Z", depressed=0.9),
        entry("e9", DAY, depressed=0.9),
    ]
    kept = recordable(case({"depressed": 0.6}, ALL, history=history), LOADED, GUIDANCE).context.history

    assert [(one.entry_id, one.scores) for one in kept] == [("e1", {"depressed": 0.6}), ("this", {"depressed": 0.9})]


def test_without_leave_nothing_of_the_history_is_kept() -> None:
    one = case({"depressed": 0.6}, {"use_history": False}, history=[entry("mine", DAY, depressed=0.9)])

    assert recordable(one, LOADED, GUIDANCE).context.history == ()


def test_where_the_time_is_not_known_that_there_is_a_history_is_kept() -> None:
    one = case({"depressed": 0.6}, ALL, now=None, history=[entry("mine", NOW, depressed=0.1)])
    (kept,) = recordable(one, LOADED, GUIDANCE).context.history

    assert (kept.entry_id, kept.scores) == ("e1", {})
