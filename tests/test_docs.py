"""The documentation builds, stands by itself without a network, names everything public, and what it shows is so."""

import doctest
import html.parser
import inspect
import re
import socket
import warnings
from pathlib import Path
from runpy import run_path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import pytest

import sgdlimit as sl

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITH_EXAMPLES = [page for page in PAGES if ">>> " in page.read_text(encoding="utf-8") and page.name != "mixture.md"]
SMALL = 100
"""N of the gallery's pictures here."""


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_run(page, monkeypatch, tmp_path):  # those of mixture.md run in test_mixture_page.py
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(tmp_path)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, tried = doctest.testfile(str(page), module_relative=False, optionflags=flags, encoding="utf-8")
    assert tried > 0
    assert failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_numbers_are_those_that_were_measured(page):
    """`make numbers` measures them and writes them into the pages."""
    tool, text = run_path(str(ROOT / "tools" / "measure.py")), page.read_text(encoding="utf-8")
    assert tool["quoted"](text, tool["results"]()) == text


class Read(html.parser.HTMLParser):
    """What a page loads, where it links to, what can be linked to in it, and its text outside of code."""

    RESOURCES: ClassVar = {
        "img": "src",
        "script": "src",
        "iframe": "src",
        "source": "src",
        "link": "href",
        "object": "data",
    }

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.resources: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.text: list[str] = []
        self._inside: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in attrs if value is not None}
        if (
            tag in self.RESOURCES
            and self.RESOURCES[tag] in found
            and found.get("rel") not in ("canonical", "next", "prev")
        ):
            self.resources.append(found[self.RESOURCES[tag]])
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag in ("code", "script", "style", "math"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.text.append(data)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    """The built site, whose test is slow, checks anchors, pages that are made and everything else."""
    made = {"gallery", "notebooks", "reference"}  # by the build
    for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if urlsplit(link).scheme or made & set(Path(link).parts):
            continue
        assert (page.parent / unquote(link)).exists(), link


def built(folder: Path) -> Path:
    """The site, strictly: any warning is an error."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of mkdocs and its plugins; their messages are errors all the same
        config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
        config.extra.update(gallery_input_dim=SMALL, gallery_dpi=50, run_notebooks=False)
        config.plugins.on_startup(command="build", dirty=False)
        try:
            build(config)
        finally:
            config.plugins.on_shutdown()
    return folder


def test_site(tmp_path, monkeypatch):
    """One build, for it is what takes time."""
    calls: list[Any] = []
    connect = socket.socket.connect

    def local(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX:
            calls.append(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local)
    folder = built(tmp_path / "site")
    assert not calls, "the build needs no network"
    pages = {page.relative_to(folder).as_posix(): Read(page) for page in sorted(folder.rglob("*.html"))}
    assert {"index.html", "tutorial.html", "theory.html", "faq.html", "gallery.html"} <= set(pages)

    for name, page in pages.items():
        elsewhere = [url for url in page.resources if urlsplit(url).scheme in ("http", "https") or url.startswith("//")]
        assert not elsewhere, (name, "loads from the network", elsewhere)
        text = " ".join(page.text)
        assert not re.search(r"\\\(|\\\[|\$[^$\s]", text), (name, "has an equation that was not made")
        if name == "404.html":
            continue
        for url in [*page.resources, *page.links]:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            path = (folder / name).parent / unquote(parts.path) if parts.path else folder / name
            assert path.exists(), (name, "links to what is not there", url)
            if parts.fragment and path.suffix == ".html":
                target = pages[path.resolve().relative_to(folder.resolve()).as_posix()]
                assert parts.fragment in target.anchors or parts.fragment == "__", (name, "has no such anchor", url)

    for style in folder.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?https?:", style.read_text(encoding="utf-8")), style
    reference = set().union(*(page.anchors for name, page in pages.items() if name.startswith("reference/")))
    signatures = " ".join(page.read_text(encoding="utf-8") for page in (folder / "reference").glob("*.html"))
    for module, prefix in ((sl, "sgdlimit."), (sl.theory, "sgdlimit.theory.")):
        for name in module.__all__:
            assert {prefix + name, f"sgdlimit.{name}"} & reference, f"{prefix}{name} has no entry in the reference"
            if inspect.isfunction(getattr(module, name)):  # and not a module of the same name
                assert f'<span class="nf">{name}</span><span class="p">(' in signatures, f"{name} has no signature"
    assert (folder / "theory.html").read_text(encoding="utf-8").count("<math") > 50
    pictures = sorted((folder / "gallery").glob("*.png"))
    assert len(pictures) == len(list((ROOT / "examples" / "gallery").glob("*.py"))) >= 6
    assert all(picture.stat().st_size > 4_000 for picture in pictures)
    assert (folder / "search" / "search_index.js").exists(), "the search works from files"


def test_source_that_is_not_there_fails_the_build():
    from mkdocs.exceptions import PluginError

    hooks = hooks_of_the_site()
    for name, body in (
        ("sgdlimit.theory._equations:no_such_function", ""),
        ("sgdlimit.no_such_module:x", ""),
        ("sgdlimit.theory._equations:forces_at", "no such line\nreturn\n"),
    ):
        with pytest.raises(PluginError, match=r"there is no source|has no lines"):
            hooks.source(name, body, "page.md")
    assert "def forces_at(" in hooks.source("sgdlimit.theory._equations:forces_at", "", "page.md")
    assert "return jnp.block(" in hooks.source("sgdlimit.rules._base:Moment.S", "", "page.md")  # a property


def test_what_the_build_makes_is_not_committed():
    assert "site/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert not list((ROOT / "examples" / "gallery").glob("*.png"))


def hooks_of_the_site() -> Any:
    import importlib.util

    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
