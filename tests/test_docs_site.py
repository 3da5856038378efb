"""The documentation site: it builds without a warning, nothing in it leads nowhere, and no page asks another host."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

import unvanish as uv
import unvanish.theory
from unvanish.remedies import ALL

ROOT = Path(__file__).parent.parent
pytest.importorskip("zensical", reason="the site is built with zensical: pip install 'unvanish[docs]'")
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
ONLY_NAMED = {"canonical", "prev", "next", "alternate"}  # links that a browser does not load


class Page(HTMLParser):
    """What a page links to, what it loads, and the places in it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.ids: set[str] = set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids |= {found[key] or "" for key in ("id", "name") if key in found}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"] or "")
        if tag == "img":
            self.images.append(found)
        named = tag == "link" and ONLY_NAMED & set((found.get("rel") or "").split())
        if not named and tag in LOADED and found.get(LOADED[tag]):
            self.loaded.append(found[LOADED[tag]] or "")


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Strictly, with a cache of its own."""
    return subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(folder / "docs" / "extensions"), "NO_COLOR": "1"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("mkdocs.yml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    (folder / "src").symlink_to(ROOT / "src")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def site(copy: Path) -> Path:
    done = build(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()
    return copy / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file) for file in site.rglob("*.html") if file.name != "404.html"}


def test_every_page_of_docs_is_in_the_navigation_and_built(site):
    def files(nav: object) -> list[str]:
        parts = nav.values() if isinstance(nav, dict) else nav
        return [nav] if isinstance(nav, str) else [file for part in parts for file in files(part)]  # pyright: ignore

    named = files(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    there = {str(file.relative_to(ROOT / "docs")) for file in (ROOT / "docs").rglob("*.md")}
    assert len(named) == len(set(named))
    assert there - set(named) == set(), "a page of docs/ needs a line under `nav` in mkdocs.yml"
    assert set(named) - there == set()
    assert all((site / name).with_suffix(".html").is_file() for name in named)


def test_every_internal_link_leads_to_a_place(site, pages):
    lost = []
    for file, page in pages.items():
        for link in page.links:
            at = urlsplit(link)
            if at.scheme or at.netloc:
                continue
            target = (file.parent / unquote(at.path)).resolve() if at.path else file
            if target.is_dir():
                target /= "index.html"
            place = unquote(at.fragment)
            if not target.is_file() or (place and target in pages and place not in pages[target].ids | {"__top"}):
                lost.append(f"{file.relative_to(site)}: {link}")
    assert not lost


def test_every_image_is_there_small_and_described(site, pages):
    for file, page in pages.items():
        for image in page.images:
            picture = file.parent / unquote(image["src"] or "")
            assert picture.is_file(), f"{file.relative_to(site)}: {picture.name}"
            assert len(image.get("alt") or "") > 20, f"{file.relative_to(site)}: {picture.name} has no description"
            assert "methods" not in picture.parts or picture.stat().st_size < 60_000


def test_no_page_loads_anything_from_another_host(site, pages):
    for file, page in pages.items():
        assert not [one for one in page.loaded if urlsplit(one).netloc], file.name
        assert all((file.parent / urlsplit(one).path).is_file() for one in page.loaded), file.name
        assert "fonts.g" not in file.read_text(encoding="utf-8")
    for file in site.rglob("*.css"):
        assert not re.search(r"(url\(\s*['\"]?|@import\s*['\"])(https?:)?//", file.read_text(encoding="utf-8")), (
            file.name
        )


def test_every_public_name_is_in_the_reference(site, pages):
    places = set().union(*(page.ids for file, page in pages.items() if file.parent == site / "reference"))
    homes = {name: f"unvanish.{home}.{name}" for home, names in uv._HOMES.items() for name in names}
    homes |= {remedy.__name__: f"{remedy.__module__}.{remedy.__name__}" for remedy in ALL}
    assert [name for name in uv.__all__ if not {f"unvanish.{name}", homes[name]} & places] == []
    assert not [
        file for file in site.rglob("reference/*.html") if "doc-symbol-module" in file.read_text(encoding="utf-8")
    ]
    missing = [name for name in unvanish.theory.__all__ if not any(one.endswith(f".{name}") for one in places)]
    assert missing == ["ACTIVATIONS"]  # the list of names that `activation` takes


def test_every_remedy_has_its_reason_on_a_page(site):
    text = (site / "reference" / "remedies.html").read_text(encoding="utf-8")
    for remedy in ALL:
        assert f'id="{remedy.__module__}.{remedy.__name__}"' in text
    assert text.count("<strong>Limitations.</strong>") == len(ALL)


def test_formulas_are_drawn_without_a_script(site):
    text = (site / "methods" / "skip-connection.html").read_text(encoding="utf-8")
    assert "<math" in text
    assert "<mfrac>" in text
    assert not [file for file in site.rglob("*.html") if "arithmatex" in file.read_text(encoding="utf-8")]


@pytest.mark.parametrize(
    "fault", ["[there](no-such-page.md)", "[there](theory.md#no-such-place)",
              "::: unvanish.no_such_name", "[name][unvanish.no_such_name]"],
)  # fmt: skip
def test_a_fault_fails_the_build(site, copy, fault):
    page = copy / "docs" / "store.md"
    before = page.read_text(encoding="utf-8")
    try:
        page.write_text(f"{before}\n\n{fault}\n", encoding="utf-8")
        assert build(copy).returncode != 0
    finally:
        page.write_text(before, encoding="utf-8")


METHOD_PAGES = sorted((ROOT / "docs" / "methods").glob("*.md"))


@pytest.mark.parametrize("page", METHOD_PAGES, ids=[page.stem for page in METHOD_PAGES])
def test_a_method_s_page_has_measured_figures_and_its_parts(page):
    text = page.read_text(encoding="utf-8")
    measured = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("results.md", "theory.md"))
    assert {one for one in re.findall(r"\b0\.\d{4}\b", text) if one not in measured} == set()
    for command in re.findall(r"unvanish reproduce ([^`\n#]*)", text):
        assert {word for word in command.split() if word[0] != "-"} <= {*uv.METHODS, "1"}
    if page.stem != "index":
        assert re.findall(r"^## (.*)", text, re.MULTILINE) == ["Why it works", "Where it fails", "Run it"]
        assert text.count("![") == 2
        assert "$$" in text


SEARCH = """<script>
addEventListener("load", () => setTimeout(() => {
  document.querySelector(".md-search__button").click()
  const all = (root, what) => [...root.querySelectorAll(what), ...[...root.querySelectorAll("*")]
    .flatMap(one => one.shadowRoot ? all(one.shadowRoot, what) : [])]
  setTimeout(() => {
    const [input] = all(document, "input[type=text]")
    input.value = "orthogonal"
    input.dispatchEvent(new InputEvent("input", { bubbles: true, composed: true }))
    setTimeout(() => {
      const said = document.createElement("pre")
      said.id = "found"
      said.textContent = [...all(document, "[role=option]").map(one => one.href),
        ...performance.getEntriesByType("resource").map(one => "loaded " + one.name)].join("\\n")
      document.body.append(said)
    }, 4000)
  }, 2000)
}, 2000))
</script>"""


@pytest.mark.slow
def test_a_real_browser_searches_the_site_from_the_disk(site, tmp_path):
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("this machine has no Chromium")
    page = site / "searched.html"
    page.write_text((site / "index.html").read_text(encoding="utf-8") + SEARCH, encoding="utf-8")
    dumped = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
         "--virtual-time-budget=20000", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    page.unlink()
    said = re.search(r'<pre id="found">(.*?)</pre>', dumped.stdout, re.DOTALL)
    assert said
    lines = said[1].splitlines()
    assert any("theory.html" in line for line in lines)
    assert any("OrthogonalInit" in line for line in lines)
    assert all(line.removeprefix("loaded ").startswith("file:") for line in lines)
