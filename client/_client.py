"""The public client: the same calls and results over every transport."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, TypeVar

from pydantic_core import to_jsonable_python

from client._answers import check_health, read_response, read_results
from client._errors import LanternClientError, client_error
from client._retry import RetryPolicy
from client._transport import Answer, Tls, Transport
from handlers.core.caller import Caller, read_caller
from handlers.core.errors import INVALID_REQUEST, LanternError
from handlers.core.schema import (
    MAX_ENTRIES,
    ClassifyRequest,
    ClassifyResponse,
    Consent,
    Context,
    Options,
    encode_json,
    parse_request,
)

DEFAULT_TIMEOUT_S: Final = 30.0
DEFAULT_MODEL: Final = "sentiment"

Entry = ClassifyRequest | str | dict[str, Any]
"""One of several texts: a request, the text alone, or the JSON fields of a request."""

Result = ClassifyResponse | LanternClientError
"""The answer for one of several texts."""

_T = TypeVar("_T")
_ENTRY = re.compile(r"entries\[[0-9]+\]")


class LanternClient:
    """A client of one Lantern server; make one with ``rest`` or ``grpc`` and keep it.

    It may be used from several threads, and closes its connections at the end of a ``with`` block
    or with ``close``.

    Every call has a deadline that covers all its attempts and the waits between them. Over REST a
    server that sends its answer in drips may exceed it by one read.

    Args:
        transport: how to reach the server.
        timeout: seconds for a call that names none.
        retries: attempts after the first, or a whole ``RetryPolicy``.
    """

    def __init__(
        self, transport: Transport, *, timeout: float = DEFAULT_TIMEOUT_S, retries: int | RetryPolicy = 2
    ) -> None:
        self._transport = transport
        self._timeout_s = _seconds(timeout)
        self._retry = RetryPolicy(retries) if isinstance(retries, int) else retries
        self._closed = False

    @classmethod
    def rest(
        cls,
        url: str,
        *,
        model: str = DEFAULT_MODEL,
        timeout: float = DEFAULT_TIMEOUT_S,
        retries: int | RetryPolicy = 2,
        token: str | None = None,
        tls: Tls | None = None,
    ) -> LanternClient:
        """Talk REST to ``url``, such as ``http://127.0.0.1:8080``; a path in it is kept.

        Args:
            url: where the server or its gateway is; ``https`` means TLS.
            model: the model's name.
            timeout: seconds for a call that names none.
            retries: attempts after the first, or a whole ``RetryPolicy``.
            token: bearer token; without TLS it travels as it is.
            tls: authorities and client certificate, where the system's are not meant.

        Raises:
            ValueError: an argument does not fit.
            OSError: a file of ``tls`` cannot be read.
        """
        from client._rest import RestTransport  # here, so that gRPC alone needs no httpx

        return cls(RestTransport(url, model=model, token=token, tls=tls), timeout=timeout, retries=retries)

    @classmethod
    def grpc(
        cls,
        target: str,
        *,
        model: str = DEFAULT_MODEL,
        timeout: float = DEFAULT_TIMEOUT_S,
        retries: int | RetryPolicy = 2,
        token: str | None = None,
        tls: Tls | None = None,
    ) -> LanternClient:
        """Talk gRPC to ``target``, such as ``127.0.0.1:7070``.

        Args:
            target: host and port, or any name that gRPC resolves.
            model: the model's name.
            timeout: seconds for a call that names none.
            retries: attempts after the first, or a whole ``RetryPolicy``.
            token: bearer token; without TLS it travels as it is.
            tls: ``None`` for plain text; ``Tls()`` for TLS with gRPC's own authorities.

        Raises:
            ValueError: an argument does not fit.
            OSError: a file of ``tls`` cannot be read.
        """
        from client._grpc import GrpcTransport  # here, so that REST alone needs no grpcio

        return cls(GrpcTransport(target, model=model, token=token, tls=tls), timeout=timeout, retries=retries)

    def classify(
        self,
        text: str,
        *,
        locale: str | None = None,
        country: str | None = None,
        entry_id: str | None = None,
        subject_id: str | None = None,
        consent: Consent | dict[str, Any] | None = None,
        context: Context | dict[str, Any] | None = None,
        options: Options | dict[str, Any] | None = None,
        timeout: float | None = None,
        traceparent: str | None = None,
        request_id: str | None = None,
    ) -> ClassifyResponse:
        """Classify one text. What the arguments mean is in ``ClassifyRequest``.

        Only what holds no text is refused here. Anything else that is wrong is the server's to answer, as its error
        says what to offer the writer (``LanternClientError.escalation``).

        Args:
            timeout: seconds for this call, retries included; ``None`` for the client's own.
            traceparent: W3C trace context that the server's spans belong to.
            request_id: an id of the caller's: 32 hexadecimal digits or a UUID.

        Raises:
            LanternClientError: the subclass says what went wrong.
            ValueError: ``traceparent`` or ``request_id`` has another form.
        """
        caller = _caller(traceparent, request_id)
        given = {
            "text": text,
            "locale": locale,
            "country": country,
            "entry_id": entry_id,
            "subject_id": subject_id,
            "consent": consent,
            "context": context,
            "options": options,
        }
        call = _call_fields({name: value for name, value in given.items() if value is not None})
        if isinstance(call, LanternClientError):
            raise call
        return self._predict(call, read_response, timeout, caller)

    def classify_entries(
        self,
        entries: Sequence[Entry],
        *,
        timeout: float | None = None,
        traceparent: str | None = None,
        request_id: str | None = None,
    ) -> list[Result]:
        """Classify 1 to 64 texts in one call and return one result per entry, in order.

        An entry that fails does not fail the others: its exception stands in its place, not
        raised. It is not retried either; ``kind.retryable`` says whether to send it again.

        Args:
            timeout, traceparent, request_id: as for ``classify``.

        Raises:
            LanternClientError: the call as a whole failed.
            ValueError: as for ``classify``.
        """
        caller = _caller(traceparent, request_id)
        if isinstance(entries, (str, bytes)):
            raise TypeError("entries must be a list of texts; for one text call classify")
        if not 1 <= len(entries) <= MAX_ENTRIES:
            raise client_error(INVALID_REQUEST, f"entries must be a list of 1 to {MAX_ENTRIES} requests", "entries")
        checked = [_call_fields(_entry_fields(entry), f"entries[{place}]") for place, entry in enumerate(entries)]
        sent = {place: item for place, item in enumerate(checked) if not isinstance(item, LanternClientError)}
        results: dict[int, Result] = {
            place: item for place, item in enumerate(checked) if isinstance(item, LanternClientError)
        }
        if sent:
            call = {"entries": list(sent.values())}
            answers = self._predict(call, lambda answer: read_results(answer, len(sent)), timeout, caller)
            results.update({place: _at_place(result, place) for place, result in zip(sent, answers, strict=True)})
        return [results[place] for place in range(len(checked))]

    def ping(self, *, timeout: float | None = None) -> None:
        """Return if the server answers that it is healthy. One attempt, no retries.

        TorchServe answers so from its start on, even while no worker is ready: this tells whether
        the server is there, not whether a text would be answered.

        Raises:
            LanternClientError: it does not.
        """
        check_health(self._transport.ping(self._limit(timeout)))

    def healthy(self, *, timeout: float | None = None) -> bool:
        """Return whether ``ping`` succeeds."""
        try:
            self.ping(timeout=timeout)
        except LanternClientError:
            return False
        return True

    def close(self) -> None:
        """Close the connections; the client cannot be used afterwards."""
        self._closed = True
        self._transport.close()

    def __enter__(self) -> LanternClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _predict(self, call: dict[str, Any], read: Callable[[Answer], _T], timeout: float | None, caller: Caller) -> _T:
        """Send and read until it succeeds: reading belongs to an attempt, as errors come in the body too."""
        limit_s = self._limit(timeout)
        body = encode_json(call)
        return self._retry.run(lambda left_s: read(self._transport.predict(body, left_s, caller)), limit_s)

    def _limit(self, timeout: float | None) -> float:
        if self._closed:
            raise RuntimeError("the client is closed")
        return self._timeout_s if timeout is None else _seconds(timeout)


def _seconds(timeout: float) -> float:
    if not isinstance(timeout, (int, float)) or not 0 < timeout < math.inf:
        raise ValueError("timeout must be a number of seconds above 0: a call without a deadline may hang for ever")
    return float(timeout)


def _caller(traceparent: str | None, request_id: str | None) -> Caller:
    caller = read_caller("none", traceparent or "", request_id or "")
    if traceparent is not None and not caller.traceparent:
        raise ValueError("traceparent must be a W3C trace context: 00-, 32, 16 and 2 hexadecimal digits, '-' between")
    if request_id is not None and not caller.request_id:
        raise ValueError("request_id must be 32 hexadecimal digits or a UUID")
    return caller


def _entry_fields(entry: Entry) -> object:
    return {"text": entry} if isinstance(entry, str) else entry


def _call_fields(fields: object, path: str = "") -> dict[str, Any] | LanternClientError:
    """Return what to send: the request without its defaults, or as it came where the server will complain of it.

    What holds no text, or cannot be written as JSON, is refused. The error is made anew, away from the one that holds
    the input.
    """
    try:
        received = parse_request(fields)
        if received.error is None and not received.unread and not received.history_cut:
            return received.request.model_dump(mode="json", exclude_defaults=True)
        as_it_came: dict[str, Any] = to_jsonable_python(fields, inf_nan_mode="null")
        encode_json(as_it_came)
        return as_it_came
    except LanternError as error:
        fault = error.under(path) if path else error
    except ValueError:  # an object, bytes that are no text, a ring, a depth or a number that JSON has no room for
        fault = LanternError(INVALID_REQUEST, "this holds something that is no JSON", path or None)
    return client_error(fault.kind, fault.message, fault.field)


def _at_place(result: Result, place: int) -> Result:
    """Name the caller's entry: entries that were refused here were not sent, so the server counts others."""
    if isinstance(result, ClassifyResponse):
        unread = tuple(one.model_copy(update={"field": _renamed(one.field, place)}) for one in result.unread)
        return result.model_copy(update={"unread": unread}) if unread else result
    if result.field is None:
        return result
    return client_error(
        result.kind,
        result.message,
        _renamed(result.field, place),
        retry_after_s=result.retry_after_s,
        escalation=result.escalation,
    )


def _renamed(field: str, place: int) -> str:
    return _ENTRY.sub(f"entries[{place}]", field, count=1)
