"""Every slow test has a fast one beside it that guards the same promise."""

import re
from pathlib import Path

import pytest

from slow import SLOW, entry

TESTS = Path(__file__).parent


@pytest.mark.parametrize("test", SLOW)
def test_slow_tests_have_a_fast_guard(test):
    _, guard = SLOW[test]
    assert entry(guard) is None
    for name in (test, guard):
        path, function = name.partition("[")[0].split("::")
        file, function = TESTS / path, function.rpartition(".")[2]
        if path.startswith("src/"):  # an example in a docstring
            file = TESTS.parent / path
        found = re.search(rf"^((?:@.*\n)*)def {function}\(", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert found, name
        assert "campaign" not in found[1], f"{name} is not part of the suite"
