"""Every test that docs/peers.md names exists, and every claim about this package names one."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PEERS = (ROOT / "docs" / "peers.md").read_text(encoding="utf-8")
TEST = re.compile(r"`(tests/\w+\.py)::(\w+)`")


def test_tests_named_in_the_comparison_exist():
    named = TEST.findall(PEERS)
    assert len(named) >= 30
    for path, function in named:
        assert (ROOT / path).is_file(), (path, function)
        assert re.search(rf"^def {function}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), (
            path,
            function,
        )


def test_each_claim_about_this_package_names_a_test():
    head, _, *rows = [line.strip("|").split("|") for line in PEERS.splitlines() if line.startswith("|")]
    assert head[-1].strip() == "sgdlimit"
    for row in rows:
        assert len(row) == len(head), row[0]
        assert TEST.search(row[-1]), row[0]


def test_the_licence_is_the_one_stated():
    assert "| MIT;" in PEERS
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")
