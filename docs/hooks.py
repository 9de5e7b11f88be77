"""What the site's pages are made of besides Markdown: equations, source, the gallery, notebooks, the command line.

* Equations between dollars become MathML, which browsers draw without a script.
* A fence ```` ```source module:object ```` holds the source of that object, or of several, with the first paragraphs of
  docstrings, in two columns with the text since the last heading or fence. Its body may give the beginnings of the
  first and the last line to show. What is not there fails the build.
* ``<!-- gallery -->`` becomes the pictures of ``examples/gallery``, drawn while the site is built.
* ``<!-- notebooks -->`` becomes links to the pages of ``examples/*.ipynb``.
* ``<!-- commands -->`` becomes the options of every command.
"""

import html
import importlib
import importlib.util
import inspect
import io
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).parent.parent
GALLERY = ROOT / "examples" / "gallery"
NOTEBOOKS = ROOT / "examples"

EQUATION = re.compile(
    r'<(?:span|div) class="arithmatex">(?:\\\((?P<inline>.*?)\\\)|\\\[(?P<block>.*?)\\\])</(?:span|div)>', re.DOTALL
)
SOURCE = re.compile(r"^```source +(?P<names>[^\n]+)\n(?P<body>.*?)^```\n", re.DOTALL | re.MULTILINE)
DOCSTRING = re.compile(r'(?P<first>^ +"""(?:(?!"""|\n\n).)*)\n\n(?:(?!""").)*"""\n', re.DOTALL | re.MULTILINE)
ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):<code>(?P<name>[^<]+)</code>")
HEADING = re.compile(r"^#+ .*\n", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Draw the gallery and make pages of the notebooks."""
    for script in scripts():
        picture = draw(script, config.extra["gallery_input_dim"], config.extra["gallery_dpi"])
        files.append(File.generated(config, f"gallery/{script.stem}.png", content=picture))
    for path in notebooks():
        text = page_of_notebook(path, run=config.extra["run_notebooks"])
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put in what stands elsewhere."""
    if SOURCE.search(markdown):
        markdown = beside(markdown, page.file.src_uri)
    for mark, text in (("gallery", gallery), ("notebooks", notebook_list), ("commands", commands)):
        if f"<!-- {mark} -->" in markdown:
            markdown = markdown.replace(f"<!-- {mark} -->", text())
    return markdown


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Equations as MathML, and names in docstrings as links."""

    def mathml(match: re.Match[str]) -> str:
        display = "inline" if match["block"] is None else "block"
        latex = html.unescape(match["inline"] or match["block"]).strip()
        try:
            # A fraction bar within a line is no relation, and takes no room around it.
            made = convert(latex, display=display).replace("<mo>&#x0002F;</mo>", '<mo lspace="0" rspace="0">/</mo>')
        except Exception as error:
            raise PluginError(f"{page.file.src_uri}: no equation can be made of {latex!r} ({error})") from None
        return made if display == "inline" else f'<div class="equation">{made}</div>'

    def link(match: re.Match[str]) -> str:
        name = match["name"].removeprefix("~")
        return f'<autoref identifier="{name}" optional><code>{name.rpartition(".")[2]}</code></autoref>'

    return ROLE.sub(link, EQUATION.sub(mathml, content))


@event_priority(-100)
def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:
    """The same in the page for addresses that are not there."""
    return output_content.replace("https://unpkg.com/iframe-worker/shim", "/assets/worker.js")


@event_priority(-100)  # after the plugin that puts in the address
def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """The search's script from the site itself."""
    return output.replace("https://unpkg.com/iframe-worker/shim", get_relative_url("assets/worker.js", page.url))


def beside(markdown: str, page: str) -> str:
    """Text and source in two columns, from a heading or the fence before to each fence."""
    done, at = [], 0
    for fence in SOURCE.finditer(markdown):
        text = markdown[at : fence.start()]
        headings = list(HEADING.finditer(text))
        head = headings[-1].end() if headings else 0
        code = "\n".join(source(name, fence["body"], page) for name in fence["names"].split())
        done += [
            text[:head],
            '\n<div class="beside" markdown="1">\n<div markdown="1">\n\n',
            text[head:].strip("\n"),
            '\n\n</div>\n<div class="code" markdown="1">\n\n',
            code,
            "\n</div>\n</div>\n\n",
        ]
        at = fence.end()
    return "".join([*done, markdown[at:]])


def source(name: str, body: str, page: str) -> str:
    """The source of ``module:object`` as a fenced block, from and to the lines that begin as the body says."""
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        package = importlib.util.find_spec("sgdlimit")
        assert package is not None
        assert package.origin is not None
        file = Path(found.__file__).relative_to(Path(package.origin).parent.parent)
        for part in path.split("."):
            found = getattr(found, part)
        found = inspect.unwrap(getattr(found, "py_func", getattr(found, "fget", found)))
        lines = textwrap.dedent(inspect.getsource(found)).splitlines()
    except (ImportError, AttributeError, TypeError, OSError) as error:
        raise PluginError(f"{page}: there is no source of {name!r} ({error})") from None
    limits = body.splitlines()
    if limits:
        first, last = (limits[0], limits[-1])
        begins = [n for n, line in enumerate(lines) if line.strip().startswith(first.strip())]
        ends = [n for n, line in enumerate(lines) if line.strip().startswith(last.strip())]
        if not begins or not [n for n in ends if n >= begins[0]]:
            raise PluginError(f"{page}: {name} has no lines from {first!r} to {last!r}")
        lines = textwrap.dedent("\n".join(lines[begins[0] : min(n for n in ends if n >= begins[0]) + 1])).splitlines()
    shown = DOCSTRING.sub(lambda match: f'{match["first"]}"""\n', "\n".join(lines), count=1)
    return f'```python title="{file.as_posix()}: {path}"\n{shown}\n```\n'


def scripts() -> list[Path]:
    """The gallery's scripts, in the order of their names."""
    return sorted(GALLERY.glob("*.py"))


def imported(script: Path) -> Any:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(f"gallery_{script.stem}", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def draw(script: Path, input_dim: int, dpi: int) -> bytes:
    """The picture of a script of the gallery, as PNG."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    print(f"INFO    -  Drawing {script.name}", file=sys.stderr)
    with plt.rc_context({"figure.figsize": (7, 4), "figure.constrained_layout.use": True, "font.size": 10}):
        figure = imported(script).main(input_dim)
        written = io.BytesIO()
        figure.savefig(written, format="png", dpi=dpi)
        plt.close(figure)
    return written.getvalue()


def gallery() -> str:
    """Picture, title and code of every script."""
    parts = []
    for script in scripts():
        code = script.read_text(encoding="utf-8")
        doc = inspect.cleandoc(code.split('"""')[1])
        title, _, text = doc.partition("\n\n")
        title = " ".join(title.split()).removesuffix(".")
        parts += [f"## {title}", text, f"![{title}](gallery/{script.stem}.png)"]
        parts.append(
            f'??? example "`examples/gallery/{script.name}`"\n\n' + textwrap.indent(fenced("python", code), "    ")
        )
    return "\n\n".join(parts)


def notebooks() -> list[Path]:
    """The examples' notebooks."""
    return sorted(NOTEBOOKS.glob("*.ipynb"))


def notebook_list() -> str:
    """Links to the notebooks' pages."""
    import nbformat

    lines = []
    for path in notebooks():
        first = nbformat.read(path, as_version=4).cells[0].source.splitlines()[0]
        lines.append(f"* [{first.lstrip('# ')}](notebooks/{path.stem}.md), `examples/{path.name}`")
    return "\n".join(lines)


def page_of_notebook(path: Path, *, run: bool) -> str:
    """A notebook as Markdown, with what its cells print and draw if it is run."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    if run:
        from nbclient import NotebookClient

        print(f"INFO    -  Running {path.name}", file=sys.stderr)
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(fenced("python", cell.source))
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                parts.append(f"![output](data:image/png;base64,{''.join(data['image/png'].split())})")
            elif "text/plain" in data or "text" in output:
                text = output["text"] if "text" in output else data["text/plain"]
                parts.append(fenced("text", text.rstrip("\n")))
    parts.append(f"*This page is the notebook `examples/{path.name}`.*")
    return "\n\n".join(parts)


def fenced(language: str, text: str) -> str:
    """A fenced block."""
    return f"```{language}\n{text.rstrip()}\n```"


def commands() -> str:
    """Arguments and options of every command, from the command line itself."""
    import typer
    from typer.main import get_command

    from sgdlimit.cli import app

    root = get_command(app)
    parts = []
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        context = typer.Context(command, info_name=f"sgdlimit {name}")
        usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
        parts += [f"## sgdlimit {name}", fenced("text", usage), inspect.cleandoc(command.help or "")]
        records = [some.get_help_record(context) for some in command.get_params(context) if some.name != "help"]
        escaped = [[html.escape(text).replace("|", "&#124;") for text in record] for record in records if record]
        rows = [f"| <code>{name}</code> | {meaning} |" for name, meaning in escaped]
        parts.append("\n".join(["| argument or option | |", "|---|---|", *rows]))
    return "\n\n".join(parts)
