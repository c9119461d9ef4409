"""The boundary at which a fault of ours becomes one item's answer."""

from __future__ import annotations

import traceback
import uuid
from collections.abc import Callable
from typing import TypeVar

from handlers.core.errors import INTERNAL, LanternError
from handlers.core.events import EventSink, Fault

Result = TypeVar("Result")


class FaultBarrier:
    """Runs actions whose failure must stay with the item that they belong to.

    Args:
        sink: where faults are reported: type and place of the exception, never its message,
            which may quote a text.
    """

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink

    def attempt(self, action: Callable[[], Result]) -> Result | LanternError:
        """Return the result of ``action``, or the error that it ended with.

        An exception that is not a ``LanternError`` is a fault of ours: it is reported under a
        random id, and the id is all that the caller gets to see.
        """
        try:
            return action()
        except LanternError as error:
            return error
        except Exception as error:  # noqa: BLE001 - the one broad catch: a batch must outlive any single item
            fault = Fault(uuid.uuid4().hex, type(error).__name__, _place(error))
            self._sink(fault)
            return LanternError(INTERNAL, f"a fault of the service; give its operator this id: {fault.fault_id}")


def _place(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}"
