"""A studio that is served to a real browser: a page for each test, which fails on errors in the browser's console."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

CHROMIUM = Path("/usr/bin/chromium")  # of Debian's package; the browsers that Playwright downloads are not used
WAIT = 60_000  # milliseconds: far more than needed, on a machine that does other things
# Controls that a screen reader has no name for. `labels` are the <label> elements of a form control.
UNNAMED = """() => [...document.querySelectorAll("input, select, textarea, button, a[href], canvas, audio, img")]
  .filter((node) => node.checkVisibility() && node.type !== "hidden")
  .filter((node) => ![node.getAttribute("aria-label"), node.getAttribute("alt"), node.textContent.trim(),
                      ...[...(node.labels ?? [])].map((label) => label.textContent.trim())].some(Boolean))
  .map((node) => node.outerHTML.slice(0, 120))"""
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass
class ServedStudio:
    """A studio and where it is served."""

    url: str
    studio: object


@pytest.fixture(scope="module")
def chromium():
    """The browser; tests are skipped where it or Playwright is missing.

    It ends with the tests of a file: while it is open, the thread has a running event loop, and no other can start.
    """
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="needs Playwright: python -m pip install 'sonolux[browser]'"
    )
    if not CHROMIUM.exists():
        pytest.skip(f"needs the browser {CHROMIUM}: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def serve(chromium):
    """serve(folder, models, data=()): a studio that a thread serves on a free port until the end of the file."""
    uvicorn = pytest.importorskip("uvicorn", reason="needs the server: python -m pip install 'sonolux[studio]'")
    from sonolux.core.app.server import create_server
    from sonolux.core.app.studio import Studio

    running = []

    def served(folder, models, data=()):
        studio = Studio.open(folder, models, data, device="cpu")
        config = uvicorn.Config(create_server(studio), "127.0.0.1", 0, log_level="warning", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        running.append((server, thread))
        end = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive() and time.monotonic() < end, "the server did not start"
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        return ServedStudio(f"http://127.0.0.1:{port}/", studio)

    yield served
    for server, _ in running:
        server.should_exit = True
    for _, thread in running:
        thread.join(10)


@pytest.fixture(scope="session")
def named_runs(tiny_run, tmp_path_factory):
    """Tiny runs under names that tests can read: `shapes` and `effects`."""
    folder = tmp_path_factory.mktemp("runs")
    for name, modality in (("shapes", "image"), ("effects", "audio")):
        (folder / name).symlink_to(tiny_run(modality))
    return [folder / "shapes", folder / "effects"]


@pytest.fixture(scope="module")
def served(serve, named_runs, tmp_path_factory):
    """A studio with two tiny runs, which the tests of a file share."""
    return serve(tmp_path_factory.mktemp("studio"), named_runs)


@pytest.fixture
def open_page(chromium):
    """open_page(served, address="#sample", width=1280, **context): a page of a browser window of its own.

    The test fails if the page wrote an error to the console, or asked any other server. Texts in `page.allowed` are
    errors that a test provokes.
    """
    pages, contexts = [], []

    def opened(served, address="#sample", width=1280, context=None, **options):
        if context is None:
            context = chromium.new_context(viewport={"width": width, "height": 900}, **options)
            context.set_default_timeout(WAIT)
            contexts.append(context)
        page = context.new_page()
        page.allowed, page.faults = [], []
        page.on("console", lambda message: message.type == "error" and page.faults.append(message.text))
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("request", lambda request: _note_foreign(page, served, request.url))
        page.goto(served.url + address)
        name = address.lstrip("#").partition("?")[0]
        page.locator(f"#panel-{name}[data-ready]").wait_for(state="attached")
        pages.append(page)
        return page

    yield opened
    faults = [fault for page in pages for fault in page.faults if not any(text in fault for text in page.allowed)]
    for context in contexts:
        context.close()
    assert faults == []


def _note_foreign(page, served, url):
    if not url.startswith((served.url, "data:", "blob:")):
        page.faults.append(f"asks another server: {url}")


@pytest.fixture
def expect(chromium):
    """Playwright's assertions, which wait."""
    from playwright.sync_api import expect

    expect.set_options(timeout=WAIT)
    return expect


@pytest.fixture
def check_layout():
    """check_layout(page): soon nothing is wider than the window, and every control has a name for screen readers."""

    def check(page):
        end = time.monotonic() + 10  # seconds; results may still be added
        while (found := (max(0, page.evaluate(OVERFLOW)), page.evaluate(UNNAMED))) != (0, []):
            assert time.monotonic() < end, found
            page.wait_for_timeout(100)

    return check
