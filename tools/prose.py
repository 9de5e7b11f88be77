"""Look for turns of phrase that readers have to read twice, in code, documentation and messages.

Each pattern stands beside what to write instead. A line that must keep its words ends in ``prose: ok``.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "docs", "src", "examples", "tools", ".ci")
SUFFIXES = (".py", ".pyi", ".md", ".toml", ".ipynb", ".html", ".js", "")

INSTEAD = {
    r"will not do\b": "must be <rule> (got <value>)",
    r"what would do\b": "the rule, and a fix",
    r"cannot be had\b": "say what is missing, and a fix",
    r"\bare no options\b": "must be one of ...",
    r"\b(?:is|are|be) said\b": "is reported",
    r"\bsays so\b": "reports it",
    r"\bis told of\b": "is reported to",
    r"\b(?:is|are) told\b": "the report shows, receives",
    r"\btak(?:es?|en|ing) (?:(?:the|its) \w+|\w+) for (?:the|an?|zero|isotropic|Gaussian|what|N\()": "assumes",
    r"\btakes in\b": "includes",
    r"\bafter whatever\b": "run it again to resume",
    r"\bInterrupted, ": "to resume, ...",
    r"\bif (?:that|it) is not there\b": "if it is not available",
    r"\bas good as on\b": "as accurate as on",
    r"\bknows means\b": "includes means",
    r"\bLet now\b": "Now let",
    r"\bWhat (?:remains|is left) of\b": "begin with the subject",
    r", for (?:it|they|there|nothing|none|no|its|their|that|those|these|he|she|we|one)\b": "because",
    r"\bone's own\b": "your own",
    r"\bof (?:his|her) own\b": "your own",
    r'(?:"""|\. |^\s*# )Of (?:the|a|an|all|each|every|what|student|those|its|them|one)\b': "a full sentence",
    r'"""Whose\b': "a full sentence",
    r"\bparts? from (?:it|them|the|theory|SGD)\b": "differs, fails",
    r"\bis not to be\b": "must not",
    r"\bis to be (?:done|had|found|seen)\b": "an active verb",
    r"\bhowever (?:much|little|many|often)\b": "any number of",
    r"\bthere is (?:no|none) (?:to|of) be\b": "begin with the subject",
    r"\bas (?:it|they) (?:goes|go) along\b": "while it runs",
    r"\bin (?:his|her) place\b": "instead",
    r"\bup to where\b": "until",
    r"\bwhat is (?:wanted|asked for|given|there)\b": "name the thing",
    r"\bthe one and the other\b": "name both",
    r"\bneither has a limit\b": "name both",
}


def files() -> list[Path]:
    """Text that users or contributors read."""
    found = []
    for place in PLACES:
        path = ROOT / place
        inside = [path] if path.is_file() else sorted(path.rglob("*"))
        found += [file for file in inside if file.is_file() and file.suffix in SUFFIXES and file != Path(__file__)]
    return [file for file in found if "__pycache__" not in file.parts]


def main() -> int:
    """Print each place with its remedy; the status is 1 where there is any."""
    count = 0
    for file in files():
        text = file.read_text(encoding="utf-8")
        lines = text.splitlines()
        for pattern, remedy in INSTEAD.items():
            for match in re.finditer(pattern.replace(" ", r"\s+"), text, re.MULTILINE):  # also where a line ends
                number = text.count("\n", 0, match.start())
                if "prose: ok" not in lines[number]:
                    count += 1
                    print(f"{file.relative_to(ROOT)}:{number + 1}: {match[0].strip()!r}, write: {remedy}")
    print(f"{count} places to rewrite" if count else "prose: nothing found")
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
