"""The files of the page, without a browser: nothing inline, nothing from elsewhere, data never parsed as HTML."""

import re
from html.parser import HTMLParser

import pytest
from sonolux.core.config.registry import ROOT

STATIC = ROOT / "core/app/static"
MODULES = sorted((STATIC / "js").glob("*.js"))
LONGEST = 250  # lines of a module
DANGEROUS = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\.srcdoc")


class Attributes(HTMLParser):
    """Collects the attributes of all tags, and the text within scripts and styles."""

    def __init__(self):
        super().__init__()
        self.found, self.inline, self._inside = [], "", None

    def handle_starttag(self, tag, attrs):
        self.found += [(tag, name, value or "") for name, value in attrs]
        self._inside = tag

    def handle_data(self, data):
        if self._inside in ("script", "style"):
            self.inline += data.strip()


def page_faults(html):
    """What the content security policy of the page would refuse."""
    parser = Attributes()
    parser.feed(html)
    handlers = [f"{tag} {name}" for tag, name, _ in parser.found if name.startswith("on") or name == "style"]
    places = [value for _, name, value in parser.found if name in ("src", "href")]
    foreign = [value for value in places if not value.startswith(("/static/", "#"))]
    return handlers + foreign + [parser.inline] * bool(parser.inline)


def test_page_has_nothing_inline_and_nothing_foreign():
    assert page_faults((STATIC / "index.html").read_text("utf-8")) == []


@pytest.mark.parametrize(
    "planted",
    ['<p onclick="go()">', '<p style="color: red">', "<script>go()</script>", '<script src="https://cdn.test/x.js">'],
)
def test_planted_faults_of_a_page_are_caught(planted):
    assert page_faults(planted) != []


def test_every_file_that_is_named_exists():
    named = re.findall(r'"/static/([^"]+)"', (STATIC / "index.html").read_text("utf-8"))
    assert len(named) >= 3 and [one for one in named if not (STATIC / one).is_file()] == []


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_module(module):
    text = module.read_text("utf-8")
    assert text.startswith("/**"), "says what it is for"
    assert text.count("\n") <= LONGEST
    assert DANGEROUS.findall(text) == []
    imports = re.findall(r'import [^;]*? from "\./([^"]+)";', text)
    assert [one for one in imports if not (STATIC / "js" / one).is_file()] == []
    for names, source in re.findall(r'import \{([^}]*)\} from "\./([^"]+)";', text):
        exports = re.findall(
            r"export (?:async )?(?:function|const|class) (\w+)", (STATIC / "js" / source).read_text("utf-8")
        )
        wanted, used = zip(
            *((name.split()[0], name.split()[-1]) for name in names.split(",") if name.strip()), strict=True
        )
        assert set(wanted) <= set(exports), source
        rest = text.replace(names, "", 1)
        assert [name for name in used if not re.search(rf"\b{name}\b", rest)] == [], "imported and not used"


def test_every_export_is_used():
    texts = {path.name: path.read_text("utf-8") for path in MODULES}
    for name, text in texts.items():
        for export in re.findall(r"export (?:async )?(?:function|const|class) (\w+)", text):
            used = any(re.search(rf"\b{export}\b", other) for path, other in texts.items() if path != name)
            assert used, f"{name}: {export}"
