"""What a store of preferences holds: clips, pairs of clips, and judgements of pairs. All are checked when made."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from descant.errors import DescantError, did_you_mean
from descant.runs.digests import content_hash

CHOICES = ("a", "b", "tie", "both_bad", "skip")
ACTIONS = ("judge", "undo", "redo")
SIDES = ("a", "b")
LONGEST_NOTE = 2_000  # characters
LONGEST_NAME = 80
LONGEST_TEXT = 20_000
MOST_TOKENS = 10_000
MOST_JSON = 65_536  # characters of metadata, arguments, or a log of listening, as JSON
MOST_DEEP = 20  # levels of nesting in them
LATEST = 1e11  # seconds since 1970: later is milliseconds by mistake
HASH = re.compile(r"[0-9a-f]{64}")
UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters and lone surrogates
UNSEEN_BUT_LINES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def new_uuid() -> str:
    """A fresh random UUID."""
    return str(uuid.uuid4())


@dataclass(frozen=True)
class Clip:
    """Something to judge: the tokens that `source` (a model, a run, a person) wrote in an environment.

    `arguments` make the environment and say what was given, such as the cantus firmus; `text` is what is read where
    there is nothing to hear; `metadata` is whatever else is known (title, run, seed) and no part of the content.
    """

    environment: str
    arguments: Mapping[str, Any]
    tokens: tuple[int, ...]
    source: str
    text: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_text("environment", self.environment, LONGEST_NAME, shortest=1)
        check_text("source", self.source, LONGEST_NAME, shortest=1)
        if self.text is not None:
            check_text("text", self.text, LONGEST_TEXT, lines=True)
        tokens = self.tokens
        if not isinstance(tokens, tuple) or not all(type(t) is int and 0 <= t < 2**31 for t in tokens):
            raise DescantError("A clip's tokens must be whole numbers, 0 or more.")
        if len(tokens) > MOST_TOKENS:
            raise DescantError(f"A clip has {len(tokens):,} tokens: the most is {MOST_TOKENS:,}; cut it.")
        check_json("arguments", self.arguments)
        check_json("metadata", self.metadata)

    @cached_property
    def content(self) -> str:
        """Hash of what is heard or read, whoever wrote it."""
        return content_hash([*self.prompt_parts, list(self.tokens), self.text])

    @cached_property
    def hash(self) -> str:
        """The clip's name: hash of its content and its source."""
        return content_hash([*self.prompt_parts, list(self.tokens), self.text, self.source])

    @property
    def prompt_parts(self) -> list[Any]:
        """What was given to whoever wrote it: clips are compared where this is equal."""
        return [self.environment, dict(self.arguments)]


@dataclass(frozen=True)
class Pair:
    """Two clips by their hashes, and which of them stands on the left.

    `repeats` names the pair (by UUID) that this one shows again with its sides swapped; `model_hash` the reward model
    that chose it; `created` is in seconds since 1970.
    """

    a: str
    b: str
    left: str
    strategy: str
    uuid: str = field(default_factory=new_uuid)
    repeats: str | None = None
    model_hash: str | None = None
    created: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("a", self.a), ("b", self.b)):
            if not isinstance(value, str) or not HASH.fullmatch(value):
                raise DescantError(f"A pair's {name} must be the hash of a clip, not {shown(value)}.")
        if self.a == self.b:
            raise DescantError("A pair needs two different clips.")
        if self.left not in SIDES:
            raise DescantError(f"A pair's left must be a or b, not {shown(self.left)}.")
        check_text("strategy", self.strategy, LONGEST_NAME, shortest=1)
        check_uuid("uuid", self.uuid)
        if self.repeats is not None:
            check_uuid("repeats", self.repeats)
        if self.model_hash is not None:
            check_text("model_hash", self.model_hash, LONGEST_NAME, shortest=1)
        check_time("created", self.created)

    @property
    def sides(self) -> tuple[str, str]:
        """The hashes of the clips on the left and on the right."""
        return (self.a, self.b) if self.left == "a" else (self.b, self.a)


@dataclass(frozen=True)
class Judgement:
    """One row of what an annotator did to a pair: judged it, took that back (undo), or took the undoing back (redo).

    `choice` is one of `a`, `b`, `tie`, `both_bad`, `skip`, and None where `action` is undo; `supersedes` the UUID of
    the judgement it replaces. Times are in seconds since 1970: `shown` and `decided` by the annotator's clock,
    `recorded` by the store's.
    """

    pair: str
    annotator: str
    choice: str | None
    uuid: str = field(default_factory=new_uuid)
    action: str = "judge"
    supersedes: str | None = None
    shown: float = 0.0
    decided: float = 0.0
    recorded: float = 0.0
    listening: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        check_uuid("pair", self.pair)
        check_uuid("uuid", self.uuid)
        check_annotator(self.annotator)
        check_choice(self.choice, self.action)
        if self.supersedes is not None:
            check_uuid("supersedes", self.supersedes)
        if (self.supersedes is None) and self.action != "judge":
            raise DescantError(f"A judgement that is to {self.action} must say what it supersedes.")
        for name in ("shown", "decided", "recorded"):
            check_time(name, getattr(self, name))
        check_json("listening", self.listening)
        check_text("note", self.note, LONGEST_NOTE, lines=True)


def check_choice(choice: Any, action: Any) -> None:
    """DescantError for an action there isn't, or a choice that does not go with it."""
    if action not in ACTIONS:
        raise DescantError(f"{shown(action)} is no action.{did_you_mean(str(action), ACTIONS)}")
    if action == "undo":
        if choice is not None:
            raise DescantError("An undo has no choice: leave it out.")
    elif choice not in CHOICES:
        raise DescantError(f"{shown(choice)} is no choice.{did_you_mean(str(choice), CHOICES)}")


def check_annotator(name: Any) -> None:
    """DescantError for what is no annotator's name."""
    check_text("annotator", name, LONGEST_NAME, shortest=1)
    if name != name.strip():
        raise DescantError("An annotator's name can't begin or end with a space.")


def check_uuid(what: str, value: Any) -> None:
    """DescantError for what is no UUID in its usual form."""
    if not isinstance(value, str) or not UUID.fullmatch(value):
        raise DescantError(f"{what} must be a UUID in lower case, not {shown(value)}.")


def check_time(what: str, value: Any) -> None:
    """DescantError for what is no time in seconds since 1970."""
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= LATEST:
        raise DescantError(f"{what} must be a time in seconds since 1970, not {shown(value)}.")


def check_text(what: str, value: Any, longest: int, shortest: int = 0, lines: bool = False) -> None:
    """DescantError for text that is too long or short, or holds control characters or lone surrogates."""
    if not isinstance(value, str):
        raise DescantError(f"{what} must be text, not {shown(value)}.")
    if not shortest <= len(value) <= longest:
        raise DescantError(
            f"{what} has {len(value):,} characters: give {f'{shortest} to ' if shortest else 'at most '}{longest:,}."
        )
    if (UNSEEN_BUT_LINES if lines else UNSEEN).search(value):
        raise DescantError(f"{what} holds characters that can't be shown: leave them out.")


def check_json(what: str, value: Any) -> None:
    """DescantError for what is no JSON object of a sensible size."""
    if not isinstance(value, Mapping) or not is_shallow(value):
        raise DescantError(f"{what} must be a JSON object of at most {MOST_DEEP} levels.")
    if len(to_json(value)) > MOST_JSON:
        raise DescantError(f"{what} is longer than {MOST_JSON:,} characters as JSON: keep less of it.")


def is_shallow(value: Any, left: int = MOST_DEEP) -> bool:
    """Whether JSON data has at most so many levels, and text for keys alone."""
    if isinstance(value, Mapping):
        return left > 0 and all(isinstance(k, str) and is_shallow(v, left - 1) for k, v in value.items())
    if isinstance(value, list | tuple):
        return left > 0 and all(is_shallow(v, left - 1) for v in value)
    return True


def to_json(value: Any) -> str:
    """Compact JSON with sorted keys; DescantError for what JSON can't hold."""
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (
        TypeError,
        ValueError,
    ) as error:  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
        raise DescantError(f"This can't be kept as JSON: {error}.") from error
    return text


def from_json(text: str | bytes) -> Any:
    """JSON data; DescantError for what is none, and for NaN and infinities, which JSON does not know."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DescantError(f"not JSON: {reason}") from None


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON")


def shown(value: Any) -> str:
    """A value in a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def as_dict(record: Clip | Pair | Judgement) -> dict[str, Any]:
    """The fields of a record by name."""
    return {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
