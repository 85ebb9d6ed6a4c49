"""Words that are not used: code, docs and recipes say what diffusion papers say, in plain English."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from _tree import ROOT

# What is not written, and what is written instead.
BANNED = {
    r"\b(is|are|was|were|be|been|being) (not )?told\b": "conditioned on, given",
    r"\bnot told\b": "unconditional",
    r"\btold\b": "given; the field's name of what is conditioned on",
    r"\bclocks?\b": "noise conditioning; training budget",
    r"\bbeside\b": "next to, with; baseline",
    r"\bin the hand\b": "loaded",
    r"\bunveil\w*": "denoising trajectory",
    r"\bwalks?\b|\bwalked\b": "resampling count",
    r"\bso[- ]manieth\b": "every n-th",
    r"\bspacings?\b": "timestep spacing (`timesteps/`)",
    r"\bhouses?\b": "repository, project",
    r"\bthat there is not\b": "unknown, missing",
    r"\bby the light of\b": "from",
    r"\bwhat nobody needs\b": "unused",
    r"\bcomes? to\b": "equals, yields",
    r"\bstrangers?\b": "unrelated",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bput(s)? out\b": "outputs",
    r"\bmoments? of a run\b": "guidance inputs",
    r"\bwish(es|ed)?\b": "request",
    r"\bstretch(es)? of the way\b": "segment",
    r"\bdearer\b": "slower, more expensive",
    r"\bthe way down\b": "sampling",
}
# Where a banned word is a term of its own: "wall clock", "moments" of statistics, a timestep spacing.
ALLOWED = re.compile(
    r"wall[- ]clock|o'clock|clock (rate|speed|frequency)|perf_counter|timestep spacing|random walks?|os\.walk|\.walk\(|"
    r"ast\.walk|timestep_spacing|linear spacing|TimestepSpacing|Spacing\b|mel spacing"
)
FOLDERS = ("core", "modalities", "recipes", "docs", "examples", "benchmarks")
FILES = [p for folder in FOLDERS for p in (ROOT / folder).rglob("*") if p.suffix in (".py", ".md", ".yaml", ".html")]
FILES += [ROOT / "README.md"]
OLD_NAMES = re.compile(r"CHANGELOG|decisions|glossary|legacy|compat|first_edition")  # files that name the old words


def found_in(text: str) -> list[tuple[int, str, str]]:
    """(line, what is written there, what to write instead)."""
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        rest = "" if "first edition" in line else ALLOWED.sub("", line)
        rows += [(number, m[0], instead) for word, instead in BANNED.items() for m in re.finditer(word, rest, re.I)]
    return rows


@pytest.mark.slow
def test_banned_words_do_not_occur():
    rows = [
        f"{path.relative_to(ROOT)}:{line}: {word!r}" + (f" -> {instead}" if instead else "")
        for path in sorted(FILES)
        if not OLD_NAMES.search(path.name)
        for line, word, instead in found_in(path.read_text(encoding="utf-8"))
    ]
    assert not rows, f"{len(rows)} banned words:\n" + "\n".join(rows[:200])


def test_banned_words_are_found():
    assert [w for _, w, _ in found_in("a clock beside\nthe unveiling that the network is told")] == [
        "clock", "beside", "is told", "told", "unveiling",
    ]  # fmt: skip
    assert found_in("the wall clock of a random walk, timestep spacing and a clockwise turn") == []
