"""Hooks of mkdocs: pages made of files outside docs/, sections of other documents, drawings, benchmark tables."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]

# Files of the repository outside docs/ that are pages of the site: path in the repository to path of the page.
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "MODEL_CARD.md": "model-card.md",
    "examples/README.md": "examples.md",
}
# Files whose text is shown on another page, where links to them lead.
PARTS = {"README.md": "index.md", "LICENSE": "licence.md", "NOTICE": "licence.md"}

_LINK = re.compile(r"(\]\(|<img [^>]*src=\")([^)\s\"]+)")
_SECTION = re.compile(r'^<!-- section (\S+) "(.+)" -->$', re.MULTILINE)
_TEXT = re.compile(r"^<!-- text (\S+) -->$", re.MULTILINE)
_BENCHMARK = re.compile(r"^<!-- benchmark (\S+) -->$", re.MULTILINE)
_MODULES = re.compile(r"^<!-- modules ([\w ]+) -->$", re.MULTILINE)
_DRAWING = re.compile(r'<img alt="([^"]*)" src="[^"]*?(pictures/[^"/]+\.svg)"\s*/?>')


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add the pages that are made of files outside docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Insert what a page asks for in comments, and turn links of the repository into links of the site.

    - `<!-- section README.md "Use it" -->`: the text of that section without its heading,
    - `<!-- text LICENSE -->`: a file as it is,
    - `<!-- modules synergy -->`: a table of the source files of a package,
    - `<!-- benchmark docs/benchmark.json -->`: the tables of a benchmark.
    """
    uri = page.file.src_uri
    source = next((path for path, made in PAGES.items() if made == uri), f"docs/{uri}")
    markdown = site_links(markdown, source, uri)
    markdown = _SECTION.sub(lambda m: site_links(section(read(m[1]), m[2]), m[1], uri), markdown)
    markdown = _TEXT.sub(lambda m: f"```text\n{read(m[1]).rstrip()}\n```", markdown)
    markdown = _MODULES.sub(lambda m: "\n\n".join(module_table(package) for package in m[1].split()), markdown)
    return _BENCHMARK.sub(lambda m: benchmark_tables(json.loads(read(m[1]))), markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Put drawings into the page itself, so that they have the colours of its light or dark mode."""

    def drawing(match: re.Match[str]) -> str:
        svg = read(f"docs/{match[2]}")
        return f'<span class="drawing" role="img" aria-label="{match[1]}">{svg}</span>'

    return _DRAWING.sub(drawing, html)


def read(path: str) -> str:
    """Read a text file of the repository."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except OSError as error:
        raise PluginError(f"{path}: {error.strerror}") from None


def section(markdown: str, title: str) -> str:
    """Return the text of a section, without its heading, up to the next heading of the same level or above."""
    lines, found, level, fenced = markdown.splitlines(), [], 0, False
    for line in lines:
        fenced ^= line.startswith("```")
        heading = None if fenced else re.match(r"(#+) (.*)", line)
        if heading and level and len(heading[1]) <= level:
            break
        if level:
            found.append(line)
        elif heading and heading[2] == title:
            level = len(heading[1])
    if not level:
        raise PluginError(f'there is no section "{title}"')
    return "\n".join(found).strip()


def site_links(markdown: str, source: str, page: str) -> str:
    """Replace links to files of the repository by links to their pages.

    Args:
        markdown: text with links relative to `source`.
        source: path of the file in the repository.
        page: path of the page that the text becomes part of, relative to docs/.
    """

    def link(match: re.Match[str]) -> str:
        target, anchor = match[2].partition("#")[::2]
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        path = normpath(str(PurePosixPath(source).parent / target))
        if path.endswith(".py"):
            return f"{match[1]}{relpath(*api_page(path, page))}"
        uri = PAGES.get(path) or PARTS.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if uri is None:
            return match[0]  # mkdocs reports it
        return match[1] + relpath(uri, str(PurePosixPath(page).parent)) + (f"#{anchor}" if anchor else "")

    return _LINK.sub(link, markdown)


def api_page(path: str, page: str) -> tuple[str, str]:
    """Return the page and anchor of the API reference that documents a source file, and the folder of `page`."""
    module = path.removesuffix(".py").replace("/", ".")
    for candidate in sorted((ROOT / "docs" / "api").glob("*.md")):
        if f"::: {module}\n" in candidate.read_text(encoding="utf-8"):
            return f"api/{candidate.name}#{module}", str(PurePosixPath(page).parent)
    raise PluginError(f"{page} links to {path}, which no page of docs/api documents")


def module_table(package: str) -> str:
    """Return the source files of a package, in subfolders too, with the first sentences of their docstrings."""
    rows = []
    for path in sorted((ROOT / package).rglob("*.py")):
        sentence = (ast.get_docstring(ast.parse(read(str(path.relative_to(ROOT))))) or "").partition("\n\n")[0]
        name = str(path.relative_to(ROOT)).removesuffix("__init__.py")
        rows.append((f"`{name}`", sentence.replace("\n", " ").replace("|", "\\|")))
    return f"## {package}\n\n" + table(("file", "what it is"), rows)


def benchmark_tables(results: dict[str, Any]) -> str:
    """Return the results of `synergy bench --json` as Markdown tables."""
    machine = results["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    parts = [
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}, "
        f"{packages}."
    ]
    rows = [
        (
            r["network"],
            r["engine"],
            r["threads"],
            r["batch"],
            *(f"{r[k]:.2f}" for k in ("median_ms", "p95_ms", "cpu_ms")),
        )
        for r in results["networks"]
    ]
    parts += ["## Networks", "Milliseconds of one call, with all faces of the batch.",
              table(("network", "engine", "threads", "batch", "median ms", "95 % ms", "CPU ms"), rows)]  # fmt: skip
    rows = [
        (r["ratio"], r["threads"], f"{r['median']:.2f}", f"{r['low']:.2f} to {r['high']:.2f}", f"{r['cpu_median']:.2f}")
        for r in results["ratios"]
    ]
    parts += ["## Ratios", "Of wall times, and of CPU times in the last column.",
              table(("ratio", "threads", "median", "rounds", "CPU"), rows)]  # fmt: skip
    photos = results["photo"]
    names = [*photos[0]["stages"], "from the image in memory to landmarks"]
    stages = [[*row["stages"].values(), row["to_landmarks"]] for row in photos]
    rows = [(name, *(f"{stage[i]['median_ms']:.2f}" for stage in stages)) for i, name in enumerate(names)]
    rows += [
        (f"{name}, in turns", *(f"{row['in_turns'][name]['median_ms']:.2f}" for row in photos))
        for name in photos[0].get("in_turns", ())
    ]
    heads = ("stage", *(f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}, ms" for row in photos))
    parts += ["## A photo of 640 x 480 pixels with one face", table(heads, rows)]
    rows = [
        (r["images"], f"{r['seconds']:.1f}", f"{r['images_per_second']:.1f}", f"{r['peak_mib']:.0f}")
        for r in results["folders"]["runs"]
    ]
    if rows:
        parts += ["## Folders of photos", table(("photos", "seconds", "photos per second", "peak MiB"), rows)]
    rows = [
        (name, f"{size['weights_million']:.2f}", f"{size['multiply_adds_million']:.0f}")
        for name, size in results["sizes"].items()
    ]
    parts += ["## Sizes", table(("network", "million weights", "million multiply-adds"), rows)]
    return "\n\n".join(parts)


def table(heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
