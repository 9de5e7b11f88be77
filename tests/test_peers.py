"""Every test that docs/peers.md names exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_tests_named_in_the_comparison_exist():
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", (ROOT / "docs" / "peers.md").read_text(encoding="utf-8"))
    assert len(named) >= 5
    for path, function in named:
        assert f"def {function}(" in (ROOT / path).read_text(encoding="utf-8"), (path, function)
