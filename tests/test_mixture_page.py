"""What docs/mixture.md shows in Python is so, and every test that it names exists."""

import doctest
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "mixture.md"
TEST = re.compile(r"`((?:tests|campaigns)/\w+\.py)::(\w+)`")


def test_examples_of_the_page_run():
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, optionflags=flags, encoding="utf-8")
    assert tried >= 12
    assert failed == 0


def test_each_limit_names_a_test_that_exists():
    limits = PAGE.read_text(encoding="utf-8").partition("## Limits")[2]
    rows = [line for line in limits.splitlines() if line.startswith("|")][2:]
    assert len(rows) >= 15
    for row in rows:
        named = TEST.findall(row)
        assert named, row
        for path, function in named:
            text = (ROOT / path).read_text(encoding="utf-8")
            assert re.search(rf"^def {function}\(", text, re.MULTILINE), (path, function)
