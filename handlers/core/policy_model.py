"""The escalation policy as data: frozen models, semantic checks, JSON Schema.

A policy is a file that a clinician can read, sign and change. Whatever is wrong with it is found
when it is loaded, and the error names the path of the key. Some of it states what no policy may
change, such as the scope that an action needs: it is written down to be read, and checked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, time
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from handlers.core.errors import StartupError
from handlers.core.yamldata import DataFile, read_file

POLICY_NAME: Final = "policy.yaml"
SCHEMA_NAME: Final = "policy.schema.json"

Tier = Literal["none", "self_help", "professional", "crisis", "emergency_contact"]
Action = Literal["show_crisis_lines", "request_human_review", "offer_self_help", "notify_therapist", "alert_contact"]
Done = Literal[
    "show_crisis_lines", "request_human_review", "offer_self_help", "notify_therapist", "alert_contact", "help_link"
]
"""What an application may have carried out: the actions, and the link that stands in for an offer."""

Status = Literal["planned", "proposed", "deferred", "suppressed"]
Reason = Literal[
    "consent_missing",
    "consent_expired",
    "cooldown",
    "uncertain",
    "unsafe_contact",
    "third_party_subject",
    "kill_switch",
    "quiet_hours",
    "floor_only",
    "history_only",
    "no_reviewer",
    "policy_expired",
]
Basis = Literal["entry", "carried", "history", "floor"]

ConsentState = Literal["live", "absent", "expired", "unverified"]
"""``unverified``: it has an end, and no clock says what time it is."""

Scope = Literal["self_help", "use_history", "human_review", "notify_therapist", "alert_contact"]
Confirmer = Literal["human", "user"]

TIERS: Final[tuple[Tier, ...]] = ("none", "self_help", "professional", "crisis", "emergency_contact")
"""From the least help to the most. They name a response, never the risk of a person."""

ACTIONS: Final[tuple[Action, ...]] = (
    "show_crisis_lines",
    "request_human_review",
    "offer_self_help",
    "notify_therapist",
    "alert_contact",
)
"""In the order in which a decision lists them."""

SCOPES: Final[tuple[Scope, ...]] = ("self_help", "use_history", "human_review", "notify_therapist", "alert_contact")
THIRD_PARTY: Final[tuple[Action, ...]] = ("notify_therapist", "alert_contact")
"""Actions that tell somebody outside of the service about the person."""

RANK: Final[dict[Tier, int]] = {tier: rank for rank, tier in enumerate(TIERS)}

SUICIDAL_IDEATION: Final = "suicidal_ideation"
MAX_CRISIS_OFF: Final = 0.5
MAX_CRISIS_ON: Final = 0.8
"""No policy may put the thresholds of a crisis label higher."""

Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Words = Annotated[str, Field(min_length=1, pattern=r"^\S[^\x00-\x1f\x7f]*$")]
Identity = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=64)]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
Hours = Annotated[float, Field(ge=0.0, le=8760.0, allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Url = Annotated[str, Field(pattern=r"^https://[^\s/]+\.[^\s]+$")]


def _check_clock_time(value: object) -> object:
    if isinstance(value, str) and (len(value) != 5 or value[2] != ":"):
        raise ValueError("not a time of day such as 22:00")
    return value


def _read_version(value: object) -> object:
    return 2 if value == "2" else value


ClockTime = Annotated[time, BeforeValidator(_check_clock_time)]
SchemaVersion = Annotated[Literal[2], BeforeValidator(_read_version)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Signature(_Frozen):
    """Who answers for it that a reader may call for an alert of the contact.

    Attributes:
        by, role: the person who signed, and what they are.
        on: the day.
        calibration_sha256: of the calibration of the bundle that they signed for; any other bundle is read at
            ``crisis`` at most.
        read_sha256: digest of the policy that they read, without its signatures (``Policy.digest``). A policy that was
            changed after it was signed does not load.
    """

    by: Words
    role: Words
    on: date
    calibration_sha256: Sha256
    read_sha256: Sha256 | None = None


class ReaderPolicy(_Frozen):
    """A model whose signals the policy reads.

    Attributes:
        max_tier: no signal of the reader reaches further; ``none`` is for research, its signals are never read.
            ``emergency_contact`` needs ``signed``.
        in_bundle: whether the served bundle must have its signals; otherwise they are read where a caller has them.
        signals: names of its labels; a label belongs to one reader.
        signed: who answers for it that this reader reaches ``emergency_contact``.
        note: for whoever reads the policy.
    """

    max_tier: Tier
    in_bundle: bool = False
    signals: Annotated[tuple[Name, ...], Field(min_length=1)]
    signed: Signature | None = None
    note: Words | None = None


class LabelPolicy(_Frozen):
    """Thresholds of one label, on the calibrated score; each is inclusive and nothing is rounded.

    Attributes:
        kind: ``risk`` labels reach ``self_help`` at ``on`` and ``professional`` at ``acute_on``;
            ``crisis`` labels reach ``crisis`` at ``on`` and ``emergency_contact`` at ``acute_on``;
            ``neutral`` never moves a tier.
        means: what it is about, where labels of several readers are about the same: such labels count once.
        on: score from which the label is active.
        off: score down to which a label stays active that was active before.
        acute_on: score of an entry that is acute by itself.
        calibrated: whether the bundle's calibration, where there is one, takes the place of ``on`` and ``off``.
    """

    kind: Literal["risk", "crisis", "neutral"] = "risk"
    means: Name | None = None
    on: Share = 0.70
    off: Share = 0.55
    acute_on: Share = 0.90
    calibrated: bool = True


class OverlapPolicy(_Frozen):
    """Mixed states: ``labels`` or more risk labels, each at least ``each``, whose sum is at least ``sum``."""

    labels: Annotated[int, Field(ge=2)] = 2
    each: Share = 0.33
    sum: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.75


class CumulativePolicy(_Frozen):
    """The same label at least ``off`` in ``entries`` distinct entries within ``days`` days, bounds included."""

    entries: Annotated[int, Field(ge=2)] = 3
    days: Annotated[int, Field(ge=1, le=366)] = 14


class CarePolicy(_Frozen):
    """After a crisis: for how many days crisis lines stay in sight, whatever the scores of later entries."""

    days: Annotated[int, Field(ge=1, le=366)] = 7


class TierActions(_Frozen):
    """The actions of each tier, in order."""

    none: tuple[Action, ...]
    self_help: tuple[Action, ...]
    professional: tuple[Action, ...]
    crisis: tuple[Action, ...]
    emergency_contact: tuple[Action, ...]

    def of(self, tier: Tier) -> tuple[Action, ...]:
        """Return the actions of ``tier``."""
        actions: tuple[Action, ...] = getattr(self, tier)
        return actions


class OfferPolicy(_Frozen):
    """``offer_self_help``: how many items, and the link for those who get no offer."""

    scope: Literal["self_help"]
    cool_down_hours: Hours = 24.0
    items: Annotated[int, Field(ge=1, le=10)] = 3
    help_link: Url


class ReviewPolicy(_Frozen):
    """``request_human_review``."""

    scope: Literal["human_review"]
    cool_down_hours: Hours = 24.0


class ConfirmationPolicy(_Frozen):
    """Who may confirm an action, by the age of the person; empty where nobody needs to."""

    adult: tuple[Confirmer, ...]
    minor: tuple[Confirmer, ...]


class TherapistPolicy(_Frozen):
    """``notify_therapist``."""

    scope: Literal["notify_therapist"]
    cool_down_hours: Hours = 24.0
    confirmed_by: ConfirmationPolicy


class ContactPolicy(_Frozen):
    """``alert_contact``."""

    scope: Literal["alert_contact"]
    cool_down_hours: Hours = 24.0
    confirmed_by: ConfirmationPolicy


class LinesPolicy(_Frozen):
    """``show_crisis_lines``: needs no consent, has no cool-down and is never deferred or suppressed.

    ``max_age_days``: a line that was verified longer ago is shown with its date beside the emergency number.
    """

    max_age_days: Annotated[int, Field(ge=1, le=3660)]


class ActionPolicies(_Frozen):
    """What each action needs."""

    show_crisis_lines: LinesPolicy
    request_human_review: ReviewPolicy
    offer_self_help: OfferPolicy
    notify_therapist: TherapistPolicy
    alert_contact: ContactPolicy


class QuietHours(_Frozen):
    """``notify_therapist`` at ``professional`` waits for the end; nothing else is ever deferred.

    Attributes:
        start: time of day from which it is quiet, inclusive.
        end: time of day from which it is no longer; before ``start`` where they span midnight.
        clock: whose time of day counts: that of ``context.now``, at the offset from UTC that it carries.
    """

    start: ClockTime
    end: ClockTime
    clock: Literal["context.now"]


class Policy(_Frozen):
    """The policy.

    Attributes:
        id, version: what decisions and records call it.
        valid_from, valid_until: days on which it may be used, both included.
        note: for the reader, first on the page that is signed.
        languages: ISO 639 codes of the languages that the models read.
        readers: what gives signals, and how far each may reach.
        labels: thresholds of every signal.
        overlap, cumulative: rules over several labels and several entries.
        care: what stays in sight after a crisis.
        tiers: actions of each tier.
        actions: what each action needs.
        quiet_hours: leave out to have none.
        kill_switch: actions that are switched off.
    """

    schema_version: SchemaVersion
    id: Identity
    version: Identity
    valid_from: date
    valid_until: date
    note: Words
    languages: Annotated[tuple[Language, ...], Field(min_length=1)]
    readers: Annotated[dict[Name, ReaderPolicy], Field(min_length=1)]
    labels: Annotated[dict[Name, LabelPolicy], Field(min_length=1)]
    overlap: OverlapPolicy
    cumulative: CumulativePolicy
    care: CarePolicy = CarePolicy()
    tiers: TierActions
    actions: ActionPolicies
    quiet_hours: QuietHours | None = None
    kill_switch: tuple[Action, ...]

    def caps(self, unsigned: Collection[str] = ()) -> dict[str, Tier]:
        """Return the highest tier that each signal may reach.

        Args:
            unsigned: readers whose bundle is not the one that was signed for.
        """
        return {
            signal: _cap(reader, name in unsigned) for name, reader in self.readers.items() for signal in reader.signals
        }

    def unsigned(self, calibration_sha256: str | None) -> tuple[str, ...]:
        """Return the readers of the bundle that are signed for another calibration than this one."""
        return tuple(
            name
            for name, reader in self.readers.items()
            if reader.in_bundle and reader.signed is not None and reader.signed.calibration_sha256 != calibration_sha256
        )

    def is_crisis_reader(self, name: str) -> bool:
        """Say whether a reader has a signal of kind ``crisis``."""
        return any(self.labels[signal].kind == "crisis" for signal in self.readers[name].signals)

    def expected_signals(self) -> tuple[str, ...]:
        """Return the signals that the served bundle must give for every text."""
        return tuple(signal for reader in self.readers.values() if reader.in_bundle for signal in reader.signals)

    def digest(self) -> str:
        """Return the SHA-256 of what a signer reads: the policy without its signatures and the tiers they allow."""
        readers = {
            name: reader.model_copy(update={"signed": None, "max_tier": _cap(reader, True)})
            for name, reader in self.readers.items()
        }
        read = self.model_copy(update={"readers": readers}).model_dump(mode="json")
        return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()

    def calibrated(self, thresholds: Mapping[str, tuple[float, float]]) -> Policy:
        """Return the policy with the calibrated ``(on, off)`` of each label in the place of its own.

        Labels that are not ``calibrated`` and those without a calibration keep theirs. ``acute_on`` has no
        calibration; it is raised to ``on`` where that is above it, so that ``off <= on <= acute_on`` still holds.
        """
        labels = {
            name: _with_thresholds(label, *thresholds[name]) if label.calibrated and name in thresholds else label
            for name, label in self.labels.items()
        }
        return self.model_copy(update={"labels": labels})


def _cap(reader: ReaderPolicy, unsigned: bool) -> Tier:
    return "crisis" if unsigned and reader.max_tier == "emergency_contact" else reader.max_tier


def _with_thresholds(label: LabelPolicy, on: float, off: float) -> LabelPolicy:
    return label.model_copy(update={"on": on, "off": off, "acute_on": max(on, label.acute_on)})


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy that may be used.

    Attributes:
        sha256: of the file's bytes.
        thresholds: ``(on, off)`` by label, where they came from a bundle's calibration.
    """

    policy: Policy
    sha256: str
    thresholds: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def is_expired(self, today: date) -> bool:
        """Say whether it has passed its ``valid_until``: it then helps the person, and tells nobody anything."""
        return today > self.policy.valid_until

    def calibrated(self, thresholds: Mapping[str, tuple[float, float]], where: str) -> LoadedPolicy:
        """Return the policy with the thresholds of a bundle's calibration; see ``Policy.calibrated``.

        Raises:
            StartupError: the calibration would switch help off, as no policy may.
        """
        policy = self.policy.calibrated(thresholds)
        found = [problem for name, label in policy.labels.items() for problem in _crisis_problems(name, label)]
        if found:
            problems = [f"{key}: calibrated by the bundle, {message}" for key, message in found]
            raise _refusal(where, problems)
        return LoadedPolicy(policy, self.sha256, thresholds)


def load_policy(file: DataFile, labels: Collection[str] | None, today: date) -> LoadedPolicy:
    """Read and check a policy file.

    Args:
        labels: of the served bundle; ``None`` where there is no bundle to compare with.
        today: the day on which it is to be used.

    Raises:
        StartupError: naming file and key.
    """
    return parse_policy(read_file(file), str(file), labels, today)


def parse_policy(payload: bytes, where: str, labels: Collection[str] | None, today: date) -> LoadedPolicy:
    """Check the content of a policy file; the arguments are those of ``load_policy``.

    Raises:
        StartupError: naming ``where`` and the path of every key that is wrong.
    """
    try:
        policy = Policy.model_validate(_parse_words(payload, where))
    except ValidationError as error:
        problems = [_complaint(detail) for detail in error.errors(include_url=False)]
        raise _refusal(where, problems) from None
    found = [*_problems(policy), *_bundle_problems(policy, labels), *_date_problems(policy, today)]
    if found:
        raise _refusal(where, [f"{key}: {message}" for key, message in found])
    return LoadedPolicy(policy, hashlib.sha256(payload).hexdigest())


def policy_schema() -> dict[str, Any]:
    """Return the JSON Schema of a policy file, as it is kept in ``handlers/config/policy.schema.json``."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Policy.model_json_schema()}


def _refusal(where: str, problems: list[str]) -> StartupError:
    return StartupError(f"{where}: {'; '.join(problems)}; correct the policy, nothing is decided with this one")


# Reading.


class _WordsLoader(yaml.BaseLoader):
    """Reads every value as the words that are written, and refuses a key that is given twice.

    YAML 1.1 takes ``on`` and ``off`` for truth values and ``22:00`` for the number 1320; here the models say
    what a value is, and nothing else does.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is not a word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _parse_words(payload: bytes, where: str) -> object:
    try:
        return yaml.load(payload, Loader=_WordsLoader)  # a BaseLoader: builds words, lists and mappings alone
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise StartupError(f"{where}: {line}{error.problem}; correct the policy") from None
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        raise StartupError(f"{where}: not readable as YAML ({type(error).__name__}); correct the policy") from None


_MESSAGES: Final = {
    "extra_forbidden": "this key is not known",
    "missing": "this key is needed",
    "model_type": "this must be a mapping of keys to values",
    "model_attributes_type": "this must be a mapping of keys to values",
    "dict_type": "this must be a mapping of keys to values",
    "tuple_type": "this must be a list",
}


def _complaint(detail: ErrorDetails) -> str:
    path = ".".join(str(part) for part in detail["loc"] if part != "[key]") or "(the whole file)"
    given = f"{detail['input']!r}: " if isinstance(detail["input"], str) and detail["type"] != "extra_forbidden" else ""
    return f"{path}: {given}{_MESSAGES.get(detail['type'], detail['msg'].removeprefix('Value error, '))}"


# What each key says may be right and the whole still wrong. Each check yields the key's path and what is wrong.

Problem = tuple[str, str]


def _problems(policy: Policy) -> Iterator[Problem]:
    for name, label in policy.labels.items():
        yield from _threshold_problems(f"labels.{name}", label)
        yield from _crisis_problems(name, label)
    yield from _reader_problems(policy)
    yield from _signature_problems(policy)
    yield from _tier_problems(policy)
    yield from _action_problems(policy)
    if policy.quiet_hours is not None and policy.quiet_hours.start == policy.quiet_hours.end:
        yield "quiet_hours.end", "is the same as start; leave quiet_hours out to have none"
    yield from _repeated("languages", policy.languages)


def _threshold_problems(path: str, label: LabelPolicy) -> Iterator[Problem]:
    if label.off > label.on:
        yield f"{path}.off", f"{label.off} is above on {label.on}"
    if label.on > label.acute_on:
        yield f"{path}.on", f"{label.on} is above acute_on {label.acute_on}"


def _crisis_problems(name: str, label: LabelPolicy) -> Iterator[Problem]:
    """Yield what would switch help off: no policy may set the thresholds of a crisis label out of reach."""
    if name == SUICIDAL_IDEATION and label.kind != "crisis":
        yield f"labels.{name}.kind", f"must be crisis, not {label.kind}: no policy may switch help off"
    if label.kind == "crisis":
        for key, value, most in (("off", label.off, MAX_CRISIS_OFF), ("on", label.on, MAX_CRISIS_ON)):
            if value > most:
                yield f"labels.{name}.{key}", f"{value} is above {most}: no policy may switch help off"


def _reader_problems(policy: Policy) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    for name, reader in policy.readers.items():
        for index, signal in enumerate(reader.signals):
            path = f"readers.{name}.signals.{index}"
            if signal not in policy.labels:
                yield path, f"{signal} is not among the labels; they are {', '.join(policy.labels)}"
            if signal in owners:
                yield path, f"{signal} is a signal of {owners[signal]} already"
            owners[signal] = name
        kinds = {policy.labels[signal].kind for signal in reader.signals if signal in policy.labels}
        yield from _reach_problems(f"readers.{name}.max_tier", reader.max_tier, "crisis" in kinds)
    for label in policy.labels:
        if label not in owners:
            yield f"labels.{label}", "is a signal of no reader"


def _reach_problems(path: str, tier: Tier, is_crisis_reader: bool) -> Iterator[Problem]:
    if RANK[tier] > RANK["professional"] and not is_crisis_reader:
        yield path, f"{tier} needs a signal of kind crisis, and the reader has none"
    if RANK[tier] < RANK["professional"] and is_crisis_reader:
        yield path, f"{tier} is below professional for a signal of kind crisis: no policy may switch help off"


def _signature_problems(policy: Policy) -> Iterator[Problem]:
    for name, reader in policy.readers.items():
        path = f"readers.{name}.signed"
        if reader.max_tier == "emergency_contact" and reader.signed is None:
            yield path, "is needed for max_tier emergency_contact: by, role, on, calibration_sha256 (the sign command)"
        if reader.signed is not None and reader.max_tier != "emergency_contact":
            yield path, f"is for max_tier emergency_contact alone, not for {reader.max_tier}"
        read = reader.signed.read_sha256 if reader.signed is not None else None
        if read is not None and read != policy.digest():
            yield path, "the policy was changed after it was signed: let it be read and signed again"


def _tier_problems(policy: Policy) -> Iterator[Problem]:
    for tier in TIERS:
        actions = policy.tiers.of(tier)
        path = f"tiers.{tier}"
        yield from _repeated(path, actions)
        if [action for action in ACTIONS if action in actions] != list(dict.fromkeys(actions)):
            yield path, f"the order must be {', '.join(action for action in ACTIONS if action in actions)}"
        if RANK[tier] >= RANK["professional"] and "show_crisis_lines" not in actions:
            yield path, "show_crisis_lines must be there: no tier withholds help"
        if RANK[tier] < RANK["professional"] and any(action in THIRD_PARTY for action in actions):
            yield path, f"{' and '.join(THIRD_PARTY)} may not be there: too little is known to tell anybody"
        if tier != "emergency_contact" and "alert_contact" in actions:
            yield path, "alert_contact may only be in emergency_contact"
        if RANK[tier] >= RANK["crisis"] and "request_human_review" not in actions:
            yield path, "request_human_review must be there"
    if policy.tiers.none:
        yield "tiers.none", "must be empty: what is shown to everybody is not an escalation"
    for tier in ("self_help", "professional"):
        if "offer_self_help" not in getattr(policy.tiers, tier):
            yield f"tiers.{tier}", "offer_self_help must be there"


def _action_problems(policy: Policy) -> Iterator[Problem]:
    contact, therapist = policy.actions.alert_contact.confirmed_by, policy.actions.notify_therapist.confirmed_by
    if not contact.adult:
        yield "actions.alert_contact.confirmed_by.adult", "must not be empty: no alert goes out unconfirmed"
    for action, confirmed_by in (("alert_contact", contact), ("notify_therapist", therapist)):
        if confirmed_by.minor != ("human",):
            yield f"actions.{action}.confirmed_by.minor", "must be [human]: a minor's notice needs a human reviewer"
    yield from _repeated("kill_switch", policy.kill_switch)
    if "show_crisis_lines" in policy.kill_switch:
        yield "kill_switch", "show_crisis_lines cannot be switched off"


def _repeated(path: str, values: Collection[str]) -> Iterator[Problem]:
    if len(set(values)) != len(values):
        yield path, "something is there twice"


def _bundle_problems(policy: Policy, labels: Collection[str] | None) -> Iterator[Problem]:
    if labels is None:
        return
    for name, reader in policy.readers.items():
        for index, signal in enumerate(reader.signals):
            if reader.in_bundle and signal not in labels:
                message = f"the bundle has no label {signal}; it has {', '.join(labels)}"
                yield f"readers.{name}.signals.{index}", message
    for label in labels:
        if label not in policy.expected_signals():
            yield (
                "readers",
                f"the bundle's label {label} is a signal of no reader that is in_bundle: nothing would read it",
            )


def _date_problems(policy: Policy, today: date) -> Iterator[Problem]:
    if policy.valid_until < policy.valid_from:
        yield "valid_until", f"{policy.valid_until} is before valid_from {policy.valid_from}"
    elif today < policy.valid_from:
        yield "valid_from", f"not in force before {policy.valid_from}, and today is {today}"
