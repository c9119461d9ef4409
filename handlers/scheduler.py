"""Many requests in flight at once: their texts run in sub-batches of what waits, each answered when it is done.

A host hands requests over with ``submit`` and asks for what is done with ``collect``; it may do both from one thread.
In between, engine threads ("lanes") take sub-batches from a ``WaitingLine`` whose order is that of
``handlers.core.waiting``: short texts first, none for ever. Decoding, tokenization and decisions stay in the host's
thread and so go on while the engine runs. Where the engine is idle and all that waits takes no longer than one of
the host's turns, the host's thread runs it itself: waking another thread for it costs a lone message milliseconds on
a machine whose cores are taken.

On a CPU there is a second, express lane. It takes inputs of up to ``express_tokens`` while the first lane is inside
a longer run, so that a message does not wait for a journal to end: the two then share the cores, and the journal
takes at most twice as long. A runtime on a GPU is never entered twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from threading import Condition, Thread
from typing import Final

from handlers.core.errors import DEADLINE_EXCEEDED, OVERLOADED, LanternError
from handlers.core.settings import Settings
from handlers.core.waiting import Pace, Waiting, WaitingLine
from handlers.core.wire import Outcome, RawRequest
from handlers.pipeline import Call, Pipeline, Text
from handlers.runtime.executor import Clock

TURN_S: Final = 0.02
"""Seconds of a turn in which nothing is done: what came meanwhile waits half of it on average."""
TURN_SHARE: Final = 0.05
"""Share of one core that turns in which nothing is done may take."""
MAX_TURN_S: Final = 1.0

_DEADLINE_SHARE: Final = 0.5
"""Share of its deadline for which a text may be overtaken; the rest is for what is before it then."""
_LATE = "the deadline passed before this text was read; send less at once"
_FULL = "more is waiting than this replica can read in time; try again, or send the request to another one"


NextSubBatch = Callable[[int | None], list[Waiting[Text]]]


class Turns:
    """How long a host may wait in one turn, where it brings new requests only between turns.

    Often enough that what comes meanwhile soon joins the line, every ``TURN_S``; but where a turn itself takes its
    time, because the host sends along all that is in flight, so seldom that this is ``TURN_SHARE`` of one core.
    """

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._left: float | None = None
        self._cost = 0.0

    def begin(self) -> None:
        """Take note that the host is here."""
        if self._left is not None:
            self._cost = self._clock() - self._left

    def end(self, in_flight: bool) -> None:
        """Take note that the host leaves, and whether it will be back at once as something is in flight."""
        self._left = self._clock() if in_flight else None

    @property
    def seconds(self) -> float:
        """How long the host may wait."""
        return min(MAX_TURN_S, max(TURN_S, self._cost / TURN_SHARE))


class Scheduler:
    """Runs a pipeline's texts in an order of its own.

    ``submit``, ``collect``, ``keep`` and ``in_flight`` are for one thread, the host's.

    Args:
        pipeline: prepares, runs and finishes.
        settings: the budget, the order and the bounds.
    """

    def __init__(self, pipeline: Pipeline, settings: Settings) -> None:
        device = pipeline.device
        self._pipeline, self._settings, self._clock = pipeline, settings, pipeline.clock
        self._pace = Pace()
        self._line: WaitingLine[Text] = WaitingLine(
            settings.budget_on(device),
            settings.max_padding,
            settings.patience,
            self._pace.seconds,
            most=_DEADLINE_SHARE * settings.deadline_s,
        )
        if pipeline.warm_up_run is not None:
            self._pace.learn(*pipeline.warm_up_run)
        self._calls: dict[str, Call] = {}
        self._main_run_tokens = 0
        self._began: dict[int | None, float] = {}
        self._closed = False
        self._changed = Condition()
        self._lanes = [Thread(target=self._work, args=(None,), name="lantern-engine", daemon=True)]
        if device == "cpu" and settings.express_tokens:
            self._lanes.append(
                Thread(target=self._work, args=(settings.express_tokens,), name="lantern-express", daemon=True)
            )
        for lane in self._lanes:
            lane.start()

    @property
    def in_flight(self) -> frozenset[str]:
        """Keys of the requests that were submitted and not yet collected."""
        return frozenset(self._calls)

    @property
    def is_stuck(self) -> bool:
        """Whether a lane has ended, or has been inside one run for longer than any text may wait."""
        with self._changed:
            since = min(self._began.values(), default=self._clock())
        return self._clock() - since > self._settings.deadline_s or not all(lane.is_alive() for lane in self._lanes)

    def submit(self, key: str, raw: RawRequest) -> None:
        """Take one request: decode, tokenize, and let its texts join the line, or refuse them where it is too long."""
        call = self._pipeline.prepare(raw)
        with self._changed:
            self._calls[key] = call
            self._admit([text for text in call.texts if not text.is_run])

    def collect(self, seconds: float) -> dict[str, Outcome]:
        """Run what waits, or let the lanes; return the outcomes of requests that are done.

        Waits up to ``seconds`` for the first of them, or ``TURN_S`` where it runs something itself.
        """
        self._run_here()
        with self._changed:
            self._changed.notify_all()  # what was submitted and is not run here is for the lanes
            self._changed.wait_for(self._has_done, timeout=seconds)
            self._answer_late()
            done = {key: call for key, call in self._calls.items() if call.is_run}
            for key in done:
                del self._calls[key]
        return dict(zip(done, self._pipeline.finish(list(done.values())), strict=True))

    def keep(self, keys: Iterable[str]) -> None:
        """Forget every request in flight but ``keys``: its host has given up on it."""
        with self._changed:
            for key in self.in_flight.difference(keys):
                for text in self._calls.pop(key).texts:
                    self._line.forget(text)

    def close(self) -> None:
        """End the lanes after the runs that are going on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for lane in self._lanes:
            lane.join()

    def _run_here(self) -> None:
        """Run all that waits in place of the main lane, where that lane is idle and no turn gets longer by it."""
        with self._changed:
            is_short = 0.0 < self._line.seconds <= TURN_S  # 0 also where the pace is not known yet
            batch = self._take(None) if is_short and None not in self._began else []
        while batch:
            batch = self._run(None, batch, self._take)

    # Under the lock.

    def _admit(self, texts: list[Text]) -> None:
        """Let texts of one call join the line. They do not count against each other: the deadline is their bound."""
        full = [self._is_full_for(text) for text in texts]
        for text, refused in zip(texts, full, strict=True):
            if refused:
                text.result = LanternError(OVERLOADED, _FULL)
            else:
                deadline = text.arrived + self._settings.deadline_s
                self._line.join(text, [len(ids) for ids in text.inputs], text.arrived, deadline)

    def _is_full_for(self, text: Text) -> bool:
        tokens = sum(len(ids) for ids in text.inputs)
        return self._line.seconds_ahead(tokens, text.arrived) > self._settings.queue_s

    def _has_done(self) -> bool:
        return any(call.is_run for call in self._calls.values())

    def _answer_late(self) -> None:
        for waiting in self._line.expire(self._clock()):
            waiting.owner.take_row(waiting.index, LanternError(DEADLINE_EXCEEDED, _LATE))
            self._line.forget(waiting.owner)

    def _next(self, longest: int | None) -> list[Waiting[Text]]:
        """Return the next sub-batch of a lane; the express lane has one only beside a run that is not for it."""
        if longest in self._began or (longest is not None and self._main_run_tokens <= longest):
            return []
        self._answer_late()  # its host hears of it in its next turn
        return self._line.take(longest)

    def _take(self, longest: int | None) -> list[Waiting[Text]]:
        """Return the next sub-batch of a lane, which is inside its run from here on; an empty one if there is none."""
        batch = self._next(longest)
        if batch:
            self._began[longest] = self._clock()
            if longest is None:
                self._main_run_tokens = max(waiting.tokens for waiting in batch)
                self._changed.notify_all()  # the express lane may have something to do from here on
        return batch

    def _await(self, longest: int | None) -> list[Waiting[Text]]:
        """Wait for the next sub-batch of a lane, and return it; an empty one is the end."""
        while not self._closed:
            if batch := self._take(longest):
                return batch
            self._changed.wait()
        return []

    def _end(
        self, longest: int | None, batch: list[Waiting[Text]], rows: list[list[float] | LanternError], seconds: float
    ) -> None:
        now = self._clock()
        del self._began[longest]
        if longest is None:
            self._main_run_tokens = 0
            self._pace.learn(max(waiting.tokens for waiting in batch) * len(batch), seconds)
        for waiting, row in zip(batch, rows, strict=True):
            waiting.owner.take_row(waiting.index, row)
            if isinstance(row, LanternError):
                self._line.forget(waiting.owner)
        for text in {id(waiting.owner): waiting.owner for waiting in batch}.values():
            text.note_run(seconds, now, [waiting.tokens for waiting in batch])

    # Outside the lock.

    def _run(self, longest: int | None, batch: list[Waiting[Text]], then: NextSubBatch) -> list[Waiting[Text]]:
        """Run a sub-batch of a lane, and return what ``then`` finds after it."""
        rows, seconds = self._pipeline.run_sub_batch([waiting.owner.inputs[waiting.index] for waiting in batch])
        with self._changed:
            self._end(longest, batch, rows, seconds)
            batch.clear()  # in the caller too: a lane that waits holds no text that it has read
            self._changed.notify_all()
            return then(longest)

    def _work(self, longest: int | None) -> None:
        """Live as a lane, in a thread of its own."""
        with self._changed:
            batch = self._await(longest)
        while batch:
            batch = self._run(longest, batch, self._await)
