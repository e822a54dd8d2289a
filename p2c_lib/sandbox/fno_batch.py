"""``$batch`` in Finance and Operations: multipart only, a change set is one transaction, the outer answer is 200."""

from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import parse_qsl

from p2c_lib.sandbox.fault_rules import Rule, Rules, part_refusal
from p2c_lib.sandbox.fno_wire import Answer, Call, FnoError, bad_body
from p2c_lib.sandbox.multipart import ChangeSet, MultipartError, Part, Reply, parse_batch, write_batch
from p2c_lib.sandbox.windows import throttle_text

MAX_OPERATIONS = 5_000


class WriteAll(Protocol):
    """Does writes in one transaction; ``before`` sees each of them first and may raise."""

    def __call__(self, calls: list[Call], before: Callable[[Call], None] | None = None) -> list[Answer]:
        """Give an answer for each call."""


def batch_answer(call: Call, serve: Callable[[Call], Answer], write_all: WriteAll, rules: Rules | None) -> Answer:
    """Do the operations of a batch.

    Args:
        call: The batch request.
        serve: Answers a single operation.
        write_all: Does the operations of a change set together.
        rules: Fault rules; those with ``part`` may strike single operations.

    Returns:
        200 with an answer for each operation, or the failing operation's alone for a change set that failed.

    Raises:
        FnoError: 400 when the body is no batch or holds too many operations.
    """
    try:
        items = parse_batch(call.body, call.headers.get("content-type", ""), MAX_OPERATIONS)
    except MultipartError as error:
        raise bad_body(str(error)) from error
    replies: list[Reply | Sequence[Reply]] = []
    for item in items:
        if isinstance(item, ChangeSet):
            replies.append(_change_set(item, call, write_all, rules))
            continue
        inner = _inner(item, call)
        struck = _strike(inner, rules)
        replies.append(_reply(struck or serve(inner), item))
    body, kind = write_batch(replies)
    return Answer(200, body, {"Content-Type": kind, "OData-Version": "4.0"})


class _Struck(Exception):
    """A fault rule answers in the place of an operation."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def _change_set(item: ChangeSet, call: Call, write_all: WriteAll, rules: Rules | None) -> Reply | list[Reply]:
    seen: list[Call] = []

    def before(inner: Call) -> None:
        seen.append(inner)
        struck = _strike(inner, rules)
        if struck is not None:
            raise _Struck(struck)

    try:
        answers = write_all([_inner(part, call) for part in item.parts], before)
    except FnoError as error:
        return _reply(error.answer(), item.parts[len(seen) - 1])
    except _Struck as struck:
        return _reply(struck.answer, item.parts[len(seen) - 1])
    return [_reply(answer, part) for answer, part in zip(answers, item.parts, strict=True)]


def _inner(part: Part, call: Call) -> Call:
    path, _, query = part.url.partition("?")
    _, found, below = path.partition("/data/")
    options = dict(parse_qsl(query, keep_blank_values=True))
    return Call(part.method, below if found else path, options, part.headers, part.body, call.root)


def _strike(inner: Call, rules: Rules | None) -> Answer | None:
    rule = part_refusal(rules.hits(inner.method, f"/data/{inner.path}", is_part=True)) if rules else None
    if rule is None:
        return None
    answer = FnoError(*_status_and_text(rule)).answer()
    wait = {} if rule.retry_after is None else {"Retry-After": str(rule.retry_after)}
    return Answer(answer.status, answer.body, {**answer.headers, **wait})


def _status_and_text(rule: Rule) -> tuple[int, str]:
    if rule.kind == "throttle":
        return 429, throttle_text("fno", rule.limit, {})[1]
    return rule.status or 503, rule.message


def _reply(answer: Answer, part: Part) -> Reply:
    return Reply(answer.status, answer.headers, answer.body, part.content_id)
