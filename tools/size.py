"""Count the code in tokens: names, operators and numbers. Comments, docstrings, strings and layout are free."""

import io
import tokenize
from collections import Counter
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "src" / "sgdlimit"
COUNTED = (tokenize.NAME, tokenize.OP, tokenize.NUMBER)


def tokens(text: str) -> int:
    """Tokens of one file that count."""
    return sum(token.type in COUNTED for token in tokenize.generate_tokens(io.StringIO(text).readline))


def main() -> None:
    """Print tokens and lines of every room, then of the whole."""
    size, lines = Counter[str](), Counter[str]()
    for path in sorted(SOURCES.rglob("*.py*")):
        if path.suffix in (".py", ".pyi"):
            text, (room, *inside) = path.read_text(encoding="utf-8"), path.relative_to(SOURCES).parts
            name = f"{room}/" if inside else "modules of their own"
            size[name] += tokens(text)
            lines[name] += text.count("\n")
    for name, count in size.most_common():
        print(f"{count:8} tokens {lines[name]:7} lines  {name}")
    print(f"{size.total():8} tokens {lines.total():7} lines  in all")


if __name__ == "__main__":
    main()
