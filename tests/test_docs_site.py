"""The documentation: the site is built without warnings, loads nothing from other hosts, and has no broken links."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from packaging.requirements import Requirement

import synergy

markdown = pytest.importorskip("markdown", reason="needs the extra docs")
pytest.importorskip("mkdocs", reason="needs the extra docs")

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# Documents that are read in the repository, on the site, or both.
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").glob("*.md")])


@cache
def load(name: str) -> ModuleType:
    """Import a script of docs/scripts."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return out


def test_the_page_of_formats_has_the_table_of_the_program() -> None:
    page = (DOCS / "meshes.md").read_text(encoding="utf-8")
    assert load("formats").with_table(page) == page
    assert page.count("| `") > 15


class Page(HTMLParser):
    """The ids, links and loaded files of an HTML page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and values.get("rel") != "canonical":
            self.loaded.append(values.get("href", ""))
        if tag in ("script", "img", "iframe", "source", "video", "audio") and "src" in values:
            self.loaded.append(values["src"])


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def test_internal_links_of_the_site_lead_to_a_page_and_an_anchor(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or path.name == "404.html":  # the links of 404.html begin at the root of a host
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                broken.append(f"{path.relative_to(site)}: {link}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                broken.append(f"{path.relative_to(site)}: {link} (no such anchor)")
    assert not broken, "\n".join(broken)
    assert sum(len(page.links) for page in pages.values()) > 1000


def test_the_site_loads_nothing_from_other_hosts(site: Path, pages: dict[Path, Page]) -> None:
    external = [(path.name, link) for path, page in pages.items() for link in page.loaded if urlsplit(link).netloc]
    for path in site.rglob("*.css"):
        for address in re.findall(r"(?:url\(|@import\s+)[\"']?([^\"')\s]+)", path.read_text(encoding="utf-8")):
            external += [(path.name, address)] if urlsplit(address).netloc else []
    assert not external


def test_every_document_is_in_the_navigation() -> None:
    def entries(nav: object) -> list[str]:
        if isinstance(nav, str):
            return [nav]
        return [entry for part in (nav.values() if isinstance(nav, dict) else nav) for entry in entries(part)]

    lines = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = entries(yaml.safe_load(lines)["nav"])
    made = set(load("hooks").PAGES.values())
    assert sorted(listed) == sorted({str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")} | made)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_the_documents(path: Path) -> None:
    broken = [link for link in links_of(path) if not leads_somewhere(link, path)]
    assert not broken


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_lists_code_and_tables_are_the_same_on_the_site_and_on_code_hosts(path: Path) -> None:
    # Code hosts read CommonMark. The site needs blank lines before lists, and four spaces before their paragraphs.
    text = re.sub(r"\A---\n.*?\n---\n", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    types = [token.type for token in MarkdownIt("commonmark").enable("table").parse(text)]
    extensions = ["tables", "md_in_html", "admonition", "pymdownx.superfences", "pymdownx.highlight"]
    html = markdown.markdown(text, extensions=extensions)
    assert html.count("<li>") == types.count("list_item_open")
    assert html.count("<pre") == types.count("fence") + types.count("code_block")
    assert html.count("<table") == types.count("table_open")


def leads_somewhere(link: str, source: Path) -> bool:
    """Return whether a link of a document is well-formed, if it is external, or its file and anchor exist."""
    parts = urlsplit(link)
    if parts.scheme in ("http", "https"):
        return bool(re.fullmatch(r"[\w.-]+\.[a-z]{2,}", parts.netloc))
    target = (source.parent / unquote(parts.path)).resolve() if parts.path else source
    if parts.scheme or not target.is_relative_to(ROOT):
        return False
    if target.is_relative_to(DOCS) and str(target.relative_to(DOCS)) in load("hooks").PAGES.values():
        return True  # exists on the site only, where another test checks it
    return target.is_file() and (not parts.fragment or parts.fragment in anchors_of(target))


def links_of(path: Path) -> list[str]:
    """Return the addresses of links and pictures of a Markdown file; code has none."""
    found = []
    for block in MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8")):
        for token in block.children or ():
            address = token.attrGet("href" if token.type == "link_open" else "src")
            found += [str(address)] if address else []
    return found


@cache
def anchors_of(path: Path) -> set[str]:
    """Return the anchors of the headings of a Markdown file, as the site and code hosts make them."""
    tokens = MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))
    anchors: set[str] = set()
    for heading, inline in pairwise(tokens):
        if heading.type == "heading_open":
            text = "".join(child.content for child in inline.children or ())
            slug = re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower())
            anchors.add(next(a for a in (slug, *(f"{slug}_{i}" for i in range(1, 99))) if a not in anchors))
    return anchors


def test_the_files_that_the_architecture_names_exist() -> None:
    missing = []
    for row in (DOCS / "architecture.md").read_text(encoding="utf-8").splitlines():
        folders = [ROOT]
        for name in re.findall(r"`([\w/.-]+(?:/|\.py|\.yml))`", row) if row.startswith("|") else ():
            # After `synergy/export.py` in the same row, `results.py` means synergy/results.py.
            path = next((folder / name for folder in folders if (folder / name).exists()), None)
            missing += [] if path else [name]
            folders += [path.parent, path] if path else []
    assert not missing


def test_the_drawings_are_those_of_the_script() -> None:
    drawings = load("drawings")
    number = re.compile(r"-?\d+\.\d+")
    for name, draw in drawings.DRAWINGS.items():
        stored, made = (DOCS / "pictures" / f"{name}.svg").read_text(encoding="utf-8"), draw()
        message = f"{name}.svg: run python docs/scripts/drawings.py"
        assert number.sub("", stored) == number.sub("", made), message
        # Sums depend on the processor, and a coordinate is rounded to 0.1.
        values = [np.array([float(value) for value in number.findall(text)]) for text in (stored, made)]
        np.testing.assert_allclose(*values, atol=0.11, err_msg=message)
    assert {path.stem for path in (DOCS / "pictures").glob("*.svg")} == set(drawings.DRAWINGS)


def test_links_of_the_repository_become_links_of_the_site() -> None:
    hooks = load("hooks")
    cases = [
        ("docs/a.md", "a.md", "[x](b.md#c)", "[x](b.md#c)"),
        ("docs/a.md", "a.md", "[x](../MODEL_CARD.md#data)", "[x](model-card.md#data)"),
        ("docs/tutorials/a.md", "tutorials/a.md", "[x](../../CONTRIBUTING.md)", "[x](../contributing.md)"),
        ("README.md", "index.md", "[x](docs/video.md)", "[x](video.md)"),
        ("README.md", "tutorials/a.md", "![x](docs/pictures/a.png)", "![x](../pictures/a.png)"),
        ("README.md", "index.md", "[x](LICENSE)", "[x](licence.md)"),
        ("docs/a.md", "a.md", "[x](../synergy/geometry.py)", "[x](api/geometry.md#synergy.geometry)"),
        ("docs/a.md", "a.md", "[x](https://example.org/a.md) [y](#z)", "[x](https://example.org/a.md) [y](#z)"),
    ]
    for source, page, text, expected in cases:
        assert hooks.site_links(text, source, page) == expected


def test_a_section_of_a_document_ends_at_the_next_heading_of_its_level() -> None:
    section = load("hooks").section
    text = "# A\n\n## B\n\none\n\n### C\n\n```\n## not a heading\n```\n\n## D\n\ntwo"
    assert section(text, "B") == "one\n\n### C\n\n```\n## not a heading\n```"
    assert section(text, "D") == "two"
    with pytest.raises(Exception, match='no section "E"'):
        section(text, "E")


def test_citation_file() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == synergy.__version__
    assert citation["license"] == project["license"]
    for work in (citation, citation["preferred-citation"]):
        assert work["title"]
        assert work["authors"]
        assert all(set(author) <= {"name", "family-names", "given-names"} for author in work["authors"])
    assert citation["message"]


def test_the_conda_environment_has_the_versions_of_the_package() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    required = [Requirement(line) for line in [*project["dependencies"], *extras["pytorch3d"]]]
    wanted = {r.name: r.specifier for r in required} | {
        "python": Requirement("x" + project["requires-python"]).specifier
    }
    *conda, pip = environment["dependencies"]
    for line in conda:
        if line != "pip":
            given = Requirement(line)
            assert given.specifier == wanted[{"pytorch": "torch"}.get(given.name, given.name)], line
    names = re.fullmatch(r"-e \.\[(.*)\]", pip["pip"][0])
    assert names
    assert set(names[1].split(",")) <= set(extras)
