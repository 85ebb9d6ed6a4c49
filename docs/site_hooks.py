"""Hook of the docs site: links from docs/*.md to files outside docs/ become links of the site, or plain text."""

from __future__ import annotations

import re
from typing import Any

ON_SITE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def on_page_markdown(markdown: str, page: Any = None, **_: Any) -> str:
    """The Markdown of a page with its links `[text](../file)` rewritten; pages of notebooks are a folder deeper."""
    if page is not None and page.file.src_uri.startswith("notebooks/"):
        return markdown

    def inside(found: re.Match) -> str:
        text, file, anchor = found.groups()
        return f"[{text}]({ON_SITE[file]}{anchor or ''})" if file in ON_SITE else text

    return re.sub(r"(?<!!)\[([^\]]*)\]\(\.\./([^)#]+)(#[^)]*)?\)", inside, markdown)
