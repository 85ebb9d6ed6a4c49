"""core knows no modality: its code, texts and templates have no words of images or of audio."""

import ast
import io
import re
import tokenize

import pytest
from sonolux.core.config.registry import ROOT

WORDS = re.compile(
    r"pixel(?!ated)|picture|sound|\bwave?s?\b|\.wav|audio|image(?!nt)|waveform|spectrogram|\bhz\b|pillow|soundfile",
    re.I,
)
# File -> a text that may stand there, and why.
EXCEPTIONS = {
    "core/cli/main.py": [
        ("images and audio, from one recipe file", "help: what the program is for"),
        ("--out sounds", "help: the name of a folder"),
    ],
    "core/cli/prepare.py": [
        ("such as audio or image", "help: names of modalities"),
        ("path/to/sounds", "help: the name of a folder"),
        ("prepared/sounds", "help: the name of a folder"),
    ],
    "core/cli/edit.py": [("door.wav", "help: a file"), ("coin.wav jump.wav", "help: files")],
    "core/evaluation/report/page.py": [('"audio"', "the family of MIME types that browsers play with controls")],
    "core/evaluation/report/templates/report.html.j2": [("<audio controls", "HTML"), ("</audio>", "HTML")],
    "core/evaluation/report/templates/report.css": [("audio {", "HTML"), ("image-rendering", "CSS")],
    "core/pipeline/templates/samples.html.j2": [
        ('file.family == "audio"', "a family of MIME types"),
        ("<audio controls", "HTML"),
        ("</audio>", "HTML"),
        ("image-rendering: pixelated", "CSS"),
    ],
    "core/training/loggers/tensorboard.py": [
        ('file.family == "image"', "a family of MIME types"),
        ("messages.Image(encoded_image_string", "the protocol of TensorBoard"),
        ('file.mime == "audio/wav"', "a MIME type"),
        ("messages.Audio(encoded_audio_string", "the protocol of TensorBoard"),
    ],
    "core/training/loggers/wandb.py": [
        ('{"image": wandb.Image, "audio": wandb.Audio', "families of MIME types; wandb")
    ],
    "core/app/static/index.html": [("image/svg+xml", "MIME type of the icon")],
    "core/app/static/style.css": [("audio {", "HTML"), (".played audio", "HTML"), ("image-rendering", "CSS")],
    "core/app/static/js/media.js": [
        ('"audio"', "HTML, and a family of MIME types"),
        ('"audio, video"', "HTML"),
        ("AudioContext", "interface of browsers"),
        ("decodeAudioData", "interface of browsers"),
        ('"image"', "a family of MIME types"),
        ("new Image()", "HTML"),
        ("imageSmoothingEnabled", "interface of browsers"),
        ('"image/png"', "MIME type"),
    ],
    "core/app/static/js/mask.js": [("drawImage", "interface of browsers"), ("ImageData", "interface of browsers")],
    "core/app/static/js/timeline.js": [("devicePixelRatio", "interface of browsers")],
    "core/data/manifest.py": [("sound", "the adjective: undamaged")],
}


def without_comments(text):
    """The code of a module without comments and docstrings; the help of commands stays, since users read it."""
    lines = text.splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column] + "\n"
    tree = ast.parse(text)
    bodies = [node for node in ast.walk(tree) if isinstance(getattr(node, "body", None), list)]
    for node in bodies:
        is_command = any(
            "command" in ast.unparse(d) or "group" in ast.unparse(d) for d in getattr(node, "decorator_list", ())
        )
        for inner in node.body:
            is_text = isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant)
            if is_text and isinstance(inner.value.value, str) and not is_command:
                for row in range(inner.lineno, inner.end_lineno + 1):
                    lines[row - 1] = "\n"
    return "".join(lines)


def words_of(file, text):
    """(line, word) of each word of a modality in a file, apart from exceptions."""
    text = without_comments(text) if file.endswith(".py") else text
    for allowed, _ in EXCEPTIONS.get(file, ()):
        text = text.replace(allowed, "")
    return [(n, m[0]) for n, line in enumerate(text.splitlines(), 1) for m in WORDS.finditer(line)]


def files():
    return [p for p in sorted((ROOT / "core").rglob("*")) if p.suffix in (".py", ".j2", ".css", ".js", ".html")]


@pytest.mark.slow
def test_core_has_no_words_of_a_modality():
    names = {str(path.relative_to(ROOT)): path for path in files()}
    found = [f"{name}:{n}: {w}" for name, path in names.items() for n, w in words_of(name, path.read_text("utf-8"))]
    assert found == [], "say it in the modality instead:\n" + "\n".join(found)


def test_every_exception_is_needed():
    for name, texts in EXCEPTIONS.items():
        text = (ROOT / name).read_text("utf-8")
        shown = without_comments(text) if name.endswith(".py") else text
        assert [t for t, _ in texts if t not in shown] == [], name


def test_words_are_found():
    planted = '"""About pictures."""\nx = "a sound"  # of audio\ndef pixels():\n    "An image."\n'
    assert words_of("core/x.py", planted) == [(2, "sound"), (3, "pixel")]
