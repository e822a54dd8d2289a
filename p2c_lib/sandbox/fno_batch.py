"""``$batch`` in Finance and Operations."""
from collections.abc import Callable
from p2c_lib.sandbox.fno_wire import Answer, Call
from p2c_lib.sandbox.faults import Rules

def batch_answer(call: Call, serve: Callable[[Call], Answer], write_all: Callable[..., list[Answer]], rules: Rules | None) -> Answer:
    raise NotImplementedError
