"""What the command's process does with memory that is free again."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# A large block that is freed has C's allocator keep blocks up to that size in its heap from then on, where one that is
# still in use holds back all that were free below it: pages of both services are such blocks.
BLOCKS = """
import ctypes, json, os, sys
from p2c_lib.__main__ import settle
early = "polars" in sys.modules
if sys.argv[1] == "settled":
    settle()
import psutil
def held():
    return psutil.Process().memory_info().rss
bytes(30_000_000)
before = held()
blocks = [b"1" * 2_000_000 for _ in range(50)]
most, last = held(), blocks[-1]
del blocks
told = os.environ.get("_RJEM_MALLOC_CONF")
print(json.dumps({"early": early, "most": most - before, "held": held() - before, "told": told}))
"""


def after_blocks(how):
    done = subprocess.run([sys.executable, "-c", BLOCKS, how], capture_output=True, text=True, timeout=120, check=True)
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other allocators")
def test_the_command_gives_back_what_is_free_and_tells_polars_so_before_it_is_imported():
    seen = after_blocks("settled")
    assert seen["most"] > 90e6 and seen["held"] < 10e6, seen
    assert not seen["early"] and "decay_ms" in seen["told"], seen
