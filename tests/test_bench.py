"""The benchmark of comparing measures what it says: its truth is what we find, and it ends badly when it is not."""

import re
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent / "bench" / "compare.py"


def test_what_the_benchmark_put_in_is_what_ours_and_a_join_find():
    command = [sys.executable, str(BENCH), "--rows", "3000", "--rounds", "1", "--ways", "ours", "plain_join"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    answers = shown.split("| way")[2]
    lines = [re.split(r"\s*\|\s*", line)[2:9] for line in answers.splitlines()[2:]]
    there, ours, bare, checked = lines
    assert ours == checked == there
    assert bare[4] == "0" != there[4]


def test_the_benchmark_of_the_store_finds_what_it_put_in():
    command = [sys.executable, str(BENCH.with_name("store.py")), "--rows", "3000", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split(" | ")[0] for line in done.stdout.splitlines()[4:]] == ["| ours", "| plain", "| ratio"]


def test_the_benchmark_of_the_explorer_asks_and_keeps_within_its_memory():
    command = [sys.executable, str(BENCH.with_name("explore.py")), "2000"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    head, *kinds = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("|")]
    assert head == "asked" and {"filter", "sort all", "text", "page", "filter, sort, text, page"} < set(kinds)
