"""Every link in every Markdown page of the repository leads somewhere."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part == "build" for part in path.relative_to(ROOT).parts)
)

FENCED_CODE = re.compile(r"^ *(```|~~~).*?^ *\1 *$", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
HEADING = re.compile(r"^#{1,6} +(.+?)(?: +#+)? *$", re.MULTILINE)
LINKS = (
    re.compile(r"\]\( *<?([^\s()<>]*(?:\([^\s()]*\)[^\s()<>]*)*)>?(?: +\"[^\"]*\")? *\)"),
    re.compile(r"^ {0,3}\[[^\]^]+\]: *<?([^\s>]+)", re.MULTILINE),
    re.compile(r"\b(?:href|src|srcset)=[\"']([^\"']*)[\"']"),
)


def find_links(text: str) -> list[str]:
    """The targets of a page's links and images, in Markdown and HTML, those in code left out."""
    text = INLINE_CODE.sub("", FENCED_CODE.sub("", text))
    return [target for link in LINKS for target in link.findall(text)]


def find_anchors(text: str) -> set[str]:
    """The anchors of a page, as GitHub makes them from headings, and those written in HTML."""
    text = FENCED_CODE.sub("", text)
    anchors = set(re.findall(r"\b(?:id|name)=[\"']([^\"']+)[\"']", text))
    for heading in HEADING.findall(text):
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        # A second heading of the same words gets a number.
        numbered = (f"{anchor}-{count}" if count else anchor for count in range(len(text)))
        anchors.add(next(name for name in numbered if name not in anchors))
    return anchors


def find_broken_links(page: Path, root: Path) -> list[str]:
    """Return links to nothing or out of the repository; web addresses are only checked for form."""
    broken = []
    for target in find_links(page.read_text("utf-8")):
        url = urlsplit(target)
        path = (page.parent / unquote(url.path)).resolve() if url.path else page
        if url.scheme:
            good = url.scheme == "https" and re.fullmatch(r"[\w-]+(\.[\w-]+)+", url.netloc)
        else:
            inside = not url.path.startswith("/") and path.is_relative_to(root)
            good = target and inside and path.exists()
            if good and url.fragment:
                text = path.read_text("utf-8") if path.suffix == ".md" else ""
                good = url.fragment in find_anchors(text)
        if not good:
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page):
    """Links lead to files of the repository, to headings of pages, or have a web address's form."""
    assert find_broken_links(page, ROOT) == []


def test_pages_are_found():
    """Pages at the top, of the benchmarks and in rooms are among those checked."""
    names = {str(path.relative_to(ROOT)) for path in PAGES}
    assert {"README.md", "CHANGELOG.md", "benchmarks/README.md"} <= names
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "minisbert").rglob("*.md")} <= names


GOOD = """\
# A page (of `links`) & more

[up](#a-page-of-links--more), [again](#twice), [twice](#twice-1), [other](other.md#its-heading),
![picture](figures/a%20picture.png "drawn"), [folder](figures/), <a href="other.md">HTML</a>,
[web](https://example.org/a_(b)?c=d#e), [reference][one], `[code](nowhere.md)`, a [word] (no link).

[one]: other.md
<a id="own"></a> [own](#own)

```python
call["name"](nowhere)
# no heading
```

## Twice
## Twice
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a picture.png").touch()
    (tmp_path / "other.md").write_text("## Its *heading*\n", "utf-8")
    return tmp_path


def test_good_links_are_accepted(root):
    """Anchors, files, folders, images and the web, in every spelling."""
    page = root / "page.md"
    page.write_text(GOOD, "utf-8")
    assert len(find_links(GOOD)) == 10
    assert find_broken_links(page, root) == []


@pytest.mark.parametrize(
    "link",
    [
        "[a](nowhere.md)",
        "![a](figures/nowhere.png)",
        "[a](#nowhere)",
        "[a](#no-heading)",
        "[a](other.md#nowhere)",
        "[a](nowhere.md#its-heading)",
        "[a](other.md#twice)",
        "[a](../other.md)",
        "[a](/other.md)",
        "[a](https://example)",
        "[a](https:example.org)",
        "[a](http://example.org)",
        "[a]( )",
        "[a][b]\n\n[b]: nowhere.md",
        '<img src="nowhere.png">',
    ],
)
def test_broken_link_is_found(root, link):
    """A missing file or heading, a path out of the repository and half an address are found."""
    page = root / "page.md"
    page.write_text(f"# Twice\n\n[good](#twice), {link}.\n", "utf-8")
    assert len(find_broken_links(page, root)) == 1
