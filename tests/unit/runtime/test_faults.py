from __future__ import annotations

import pytest

from handlers.core.errors import INVALID_TEXT, LanternError
from handlers.core.events import Event, Fault
from handlers.runtime.faults import FaultBarrier


def attempt_failing(error: BaseException) -> tuple[object, list[Event]]:
    def fail() -> None:
        raise error

    events: list[Event] = []
    return FaultBarrier(events.append).attempt(fail), events


def test_a_result_passes() -> None:
    assert FaultBarrier(lambda _: None).attempt(lambda: 7) == 7


def test_an_error_of_the_table_becomes_the_answer_and_no_event() -> None:
    error = LanternError(INVALID_TEXT, "empty", "text")

    assert attempt_failing(error) == (error, [])


def test_a_fault_is_answered_with_an_opaque_id_that_the_report_carries() -> None:
    answer, events = attempt_failing(ValueError("dear diary"))

    assert isinstance(answer, LanternError)
    assert isinstance(events[0], Fault)
    assert answer.kind.code == "internal"
    assert events[0].fault_id in answer.message
    assert (events[0].exception, events[0].place.split()[1]) == ("ValueError", "fail")
    assert events[0].place.startswith("test_faults.py:")
    assert "dear diary" not in f"{answer} {events}"


def test_two_faults_have_two_ids() -> None:
    one, other = (str(attempt_failing(ValueError())[0]) for _ in range(2))

    assert one != other


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_stop_is_no_fault(stop: type[BaseException]) -> None:
    with pytest.raises(stop):
        attempt_failing(stop())
