"""List the checks of the tests that differ from those of another commit: python tools/assertions.py COMMIT.

A check is an assert statement, a call of an assert function of numpy or of pytest.raises, a list of parameters, or a
number of examples. It is known by its code, so one that only moved is not listed.
"""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("tests", "campaigns")


def checks(source: str) -> Iterator[str]:
    """The checks of one file as code in one spelling."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assert):
            yield ast.unparse(node)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if "assert_" in name or name.endswith(("raises", "warns", "parametrize", "settings", "given")):
                yield ast.unparse(node)


def git(*arguments: str) -> str:
    """What git prints."""
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout


def main() -> None:
    """Print the checks that are gone, then those that are new."""
    commit = sys.argv[1]
    before, after = Counter[str](), Counter[str]()
    for path in git("ls-tree", "-r", "--name-only", commit, *FOLDERS).split():
        if path.endswith(".py"):
            before.update(checks(git("show", f"{commit}:{path}")))
    for folder in FOLDERS:
        for path in Path(folder).rglob("*.py"):
            after.update(checks(path.read_text(encoding="utf-8")))
    for sign, changed in (("-", before - after), ("+", after - before)):
        for check, count in sorted(changed.items()):
            print(f"{sign} {count} × {check}")
    print(f"{before.total()} checks before, {after.total()} now; {(before & after).total()} are the same")


if __name__ == "__main__":
    main()
