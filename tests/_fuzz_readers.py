"""Every reader of files and texts, with the damaged cases that it must read or refuse: `READERS`."""

import functools
import io as bytesio
import json
import os
import struct
import tempfile
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import soundfile
import torch
import yaml
from _damage import CELLS, SNIPPETS, VALUES, WORDS, CheckpointParts, changed_text, changed_tree
from _fuzz import Draws, Reader, mutated, write_over
from PIL import Image as Pil
from PIL import ImageCms
from sonolux.core.config.load import load_recipe_text, packaged_recipes
from sonolux.core.config.recipe import Recipe
from sonolux.core.config.yaml import YamlDumper, dump_yaml, parse_argument, parse_yaml
from sonolux.core.data import manifest as manifests
from sonolux.core.data.captions import read_sidecar
from sonolux.core.data.latent_file import LatentFile
from sonolux.core.data.prepare.report import read_stored_summary
from sonolux.core.data.splits import recorded_training_hashes
from sonolux.core.data.tables import rows_with_paths
from sonolux.core.few_step.stored_plans import plan_from_json, plan_to_json
from sonolux.core.pipeline.open_checkpoint import open_checkpoint
from sonolux.core.pipeline.prompts import read_prompt_file
from sonolux.core.pipeline.result import saved_sample_files
from sonolux.core.pipeline.sample_list import read_sample_list
from sonolux.core.samplers.dpmpp_2m import DPMpp2M
from sonolux.core.schedulers.edm import EDM
from sonolux.core.timesteps.karras import Karras
from sonolux.core.training.checkpoint import newest_checkpoint, read_header
from sonolux.core.training.data_changes import describe_data_changes
from sonolux.core.training.run import TrainingRun
from sonolux.core.training.run_dir import RunDir
from sonolux.core.training.run_view import read_run, run_lines
from sonolux.core.types import BadInput, MediaSpec
from sonolux.core.util.messages import LONGEST_LINE, escape_control_characters
from sonolux.modalities.audio import io as sounds
from sonolux.modalities.audio import io_ogg
from sonolux.modalities.audio.prepare.prepare import SoundFolderAnalyzer
from sonolux.modalities.image import io as pictures
from sonolux.modalities.image.codecs.autoencoder import Autoencoder
from sonolux.modalities.image.prepare.prepare import PictureFolderAnalyzer


@contextmanager
def one_line(path: Path, longest: int = LONGEST_LINE, printable: bool = False):
    """A refusal is one line that names the file, and has at most so many characters in addition.

    Args:
        path: The file.
        longest: The number of characters.
        printable: Whether it quotes no text of the file, so that nothing in it is escaped when it is shown.
    """
    try:
        yield
    except BadInput as error:
        said, shown = str(error), escape_control_characters(str(error))
        assert len(error.lines()) == 1 and len(shown.splitlines()) == 1 and shown.encode() and str(path) in said, shown
        assert said.isprintable() or not printable, repr(said)
        assert len(said) - len(str(path)) <= longest, said
        raise


def file_reader(
    name: str,
    file: str,
    data: Callable[[], bytes],
    read: Callable[[Path], None],
    repair: Callable[[bytes], bytes] = bytes,
) -> Reader:
    """The reader of a file with changed bytes.

    Args:
        name: Its name.
        file: Name of the file.
        data: Makes the undamaged file.
        read: Reads it.
        repair: Corrects checksums of a damaged file, so that changes are not found at once.
    """
    data = functools.cache(data)

    def read_bytes(made: bytes, folder: Path) -> None:
        write_over(folder / file, made)
        with one_line(folder / file, printable=True):
            read(folder / file)

    return Reader(name, lambda draws: repair(mutated(data(), draws)), read_bytes)


# --- sounds ---


def encoded_sound(kind: str, subtype: str | None = None, seconds: float = 0.2, rate: int = 8000) -> bytes:
    """A tone in noise, of two channels."""
    t = np.arange(round(seconds * rate)) / rate
    noise = 0.05 * np.random.default_rng(0).normal(size=(len(t), 2))
    file = bytesio.BytesIO()
    soundfile.write(file, 0.5 * np.sin(2 * np.pi * 440 * t)[:, None] + noise, rate, format=kind, subtype=subtype)
    return file.getvalue()


def read_sound(path: Path) -> None:
    """Read as training does, and as `prepare` does."""
    sound = sounds.read_sound(path, 8000, 1)
    assert bool(torch.isfinite(sound.wave).all())
    SoundFolderAnalyzer().inspect(path)


def right_ogg_checksums(data: bytes) -> bytes:
    """An Ogg file in which every page has the checksum of its content."""
    out, file = bytearray(data), bytesio.BytesIO(data)
    for page in io_ogg._pages(file, len(data)):
        if page.whole:
            out[page.start + 22 : page.start + 26] = bytes(4)
            checksum = io_ogg._checksum(bytes(out[page.start : page.stop]))
            out[page.start + 22 : page.start + 26] = checksum.to_bytes(4, "little")
    return bytes(out)


def sound_reader(name: str, kind: str, subtype: str | None = None) -> Reader:
    """The reader of one format of sounds."""
    repair = right_ogg_checksums if kind == "OGG" else bytes
    return file_reader(name, f"x.{name}", lambda: encoded_sound(kind, subtype), read_sound, repair)


# --- pictures ---


def encoded_picture(kind: str, mode: str = "RGB", profile: bool = False, **options: Any) -> bytes:
    """A small picture of smooth colours."""
    y, x = np.mgrid[:24, :32]
    levels = np.stack([8 * x, 10 * y, 128 + 3 * (x - y), 255 - 4 * x], -1).clip(0, 255).astype(np.uint8)
    if profile:
        options["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = bytesio.BytesIO()
    Pil.fromarray(levels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def read_picture(path: Path) -> None:
    """Read as training does, and as `prepare` does."""
    media = pictures.read_picture(path, 3, cover=(16, 16))
    assert media.shape[0] == 3 and min(media.shape[1:]) == 16 and float(media.abs().max()) <= 1
    assert pictures.read_picture(path, 1, cover=(16, 16)).shape == (1, *media.shape[1:])
    PictureFolderAnalyzer().inspect(path)


def right_png_checksums(data: bytes) -> bytes:
    """A PNG in which every chunk has the checksum of its content."""
    out, place = bytearray(data), 8
    while place + 12 <= len(out):
        (length,) = struct.unpack(">I", out[place : place + 4])
        if place + 12 + length > len(out):
            break
        checksum = zlib.crc32(bytes(out[place + 4 : place + 8 + length]))
        out[place + 8 + length : place + 12 + length] = struct.pack(">I", checksum)
        place += 12 + length
    return bytes(out)


def picture_reader(name: str, kind: str, mode: str = "RGB", **options: Any) -> Reader:
    """The reader of one format of pictures."""
    repair = right_png_checksums if kind == "PNG" else bytes
    return file_reader(name, f"x.{name}", lambda: encoded_picture(kind, mode, **options), read_picture, repair)


# --- tables and manifests ---


def json_value(draws: Draws, depth: int = 0) -> Any:
    """A value of JSON; NaN and halves of characters included."""
    kind = draws.number(8 if depth < 3 else 6)
    if kind < 3:
        return (None, True, draws.number(2**24) - 5)[kind]
    if kind < 6:
        return draws.real() if kind == 3 else draws.choice(CELLS) if kind == 4 else draws.text(9)
    inner = [json_value(draws, depth + 1) for _ in range(draws.number(4))]
    return inner if kind == 6 else {draws.choice(CELLS): value for value in inner}


def json_object(draws: Draws, **values: Any) -> dict[str, Any]:
    """An object of JSON with these values, unless a key is drawn again; every second one has others in addition."""
    return values | {draws.choice(CELLS): json_value(draws) for _ in range(max(draws.number(8) - 3, 0))}


def csv_case(draws: Draws) -> tuple[str, str]:
    """Name and text of a table, most of them with a heading."""
    (name, comma), kind = draws.choice([("t.csv", ","), ("t.tsv", "\t")]), draws.number(8)
    if kind < 4:  # lines of a file and a cell
        cells = ["label", *(draws.choice(["cat", draws.choice(CELLS)]) for _ in range(1 + draws.number(4)))]
        return name, "".join(f"{f'{i}.png' if i else 'file'}{comma}{cell}\n" for i, cell in enumerate(cells))
    head = draws.choice(["file,label\n", "file\tlabel\n", ""])
    return name, head + (draws.text(40) if kind == 7 else "".join(draws.choice(CELLS) for _ in range(draws.number(31))))


def jsonl_case(draws: Draws) -> tuple[str, str]:
    """Name and text of a table of objects, of any values, or of parts of JSON."""
    kind, count = draws.choice(["objects", "objects", "values", "parts"]), 1 + draws.number(5)
    if kind == "parts":
        text = "".join(draws.choice(["{", "}", "[", ":", '"file"', '"a"', ",", "NaN", "1", "\n"]) for _ in range(30))
    elif kind == "values":
        text = "\n".join(json.dumps(json_value(draws)) for _ in range(count))
    else:
        text = "\n".join(json.dumps(json_object(draws, file=f"{i}.png")) for i in range(count))
    return "t.jsonl", text


def read_table(given: tuple[str, str], folder: Path) -> None:
    """Rows of different files that a manifest can hold."""
    path = folder / given[0]
    for name in ("0.png", "1.png"):  # a table none of whose files exists is refused
        (folder / name).touch()
    write_over(path, given[1].encode("utf-8", "surrogatepass"))
    with one_line(path, 220):
        rows = rows_with_paths(path, folder)
    assert rows and len({path for _, path in rows}) == len(rows)
    for row, _ in rows:
        facts = {"file": row.file, "label": row.label, "caption": row.caption, "more": row.more}
        manifests.format_manifest_line(facts).encode()


MANIFEST = [
    {"sonolux": "manifest", "modality": "x", "root": "r", "format": 1, "analysis": 1, "complete": True},
    *(
        {"file": f"{name}.png", "status": "ok", "reason": None, "label": name, "caption": None, "more": {"pitch": 3}}
        | {"size": 9, "mtime_ns": 10**18, "hash": 32 * name, "width": 4.5}
        for name in "ab"
    ),
    {"file": "c", "status": "skipped", "reason": "empty", "label": None, "caption": None, "size": 0, "mtime_ns": 1}
    | {"hash": None, "raw": "c3", "copy_of": "a.png", "group": 32 * "a"},
]


def manifest_case(draws: Draws) -> bytes:
    """A manifest with other values, or one of any rows; sometimes with more bytes at its end."""
    if draws.number(2):
        rows = [json_object(draws, file=f"{i}.png") if draws.number(4) else json_value(draws) for i in range(3)]
        rows = MANIFEST[: draws.number(5)] + rows
    else:
        rows = changed_tree(MANIFEST, tree_changes(draws))
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    return lines.encode() + draws.take(draws.choice([0, 0, 0, 1, 20]))


def read_manifest(given: bytes, folder: Path) -> None:
    """Read as an interrupted `prepare` does, and as training does."""
    path = folder / "manifest.jsonl"
    write_over(path, given)
    started = manifests.read_unfinished_manifest(path)
    for line in started[1] if started else ():
        assert isinstance(line["file"], str) and manifests.format_manifest_line(line)
        manifests.media_path(line, folder)
    with one_line(path):
        manifests.read_manifest(path)


# --- recipes and changes of them ---

SMALL = {
    "image": """
recipe: 1
name: tiny
modality: {use: image, size: 16, channels: 3}
data: {use: image/shapes, count: 24, shapes: 1, split: {by: hash, valid: 0.2}}
codec: {use: image/pixels}
network: {use: image/unet, width: 8, stages: [1], blocks: 1, attention: [], patch: 4}
conditioning: {label: {use: class, drop: 0.3}}
train: {steps: 1, batch: 6, warmup: 1, preview_every: 100, precision: float32, device: cpu}
sample: {use: dpmpp_2m, steps: 4, count: 6, batch: 6, guidance: {use: cfg, scale: 2.0}}
""",
    "audio": """
recipe: 1
name: tiny
modality: {use: audio, rate: 4000, seconds: 0.5, channels: 1}
data: {use: audio/synth_sfx, count: 30}
codec: {use: audio/waveform, patch: 16}
network: {use: audio/unet, width: 16, stages: [1, 1], blocks: 1, attention: [1], head_dim: 16}
objective: {timestep_sampling: {use: lognormal, mean: -1}, weighting: edm}
train: {minutes: 1, optimizer: {use: adamw, lr: 1e-3}, ema: {half_life: 100}}
sample: {steps: 3, timesteps: {use: karras, exponent: 5}, label: null, seconds: [0.2, null]}
eval: {count: 50, metrics: [mmd]}
""",
}


@functools.cache
def recipe_texts() -> list[str]:
    """Recipes as written: two small ones, which are read fast and therefore drawn often, and the packaged ones."""
    packaged = [file.read_text(encoding="utf-8") for file in packaged_recipes().values()]
    return [*SMALL.values()] * 40 + [text for text in packaged if "\nextends:" not in text]


@functools.cache
def recipe_trees() -> list[Any]:
    """Recipes as plain values: as written, and two with every default."""
    written = [parse_yaml(text, "x", Path(), []) for text in recipe_texts()]
    resolved = [load_recipe_text(text).resolved() for text in SMALL.values()]
    return [*(tree.plain() for tree in written if tree is not None), *resolved * 5]


def tree_changes(draws: Draws) -> list[tuple[float, str, Any]]:
    """Changes for `changed_tree`."""
    return [(draws.fraction(), draws.choice(["set", "set", "set", "remove", "rename", "nest"]), any_value(draws))
            for _ in draws.changes()]  # fmt: skip


def any_value(draws: Draws) -> Any:
    """A value that is seldom right."""
    kind = draws.number(8)
    if kind < 5:
        return draws.choice(VALUES)
    return (draws.number(2**24) - 2**20, draws.real(), draws.text(20))[kind - 5]


def text_changes(draws: Draws) -> list[tuple[float, int, str]]:
    """Changes for `changed_text`."""
    return [(draws.fraction(), draws.number(31), draws.choice(["", *SNIPPETS])) for _ in draws.changes()]


def argument_text(draws: Draws) -> str:
    """A value of the command line: words with a meaning in YAML, any text, or a value as YAML."""
    kind = draws.number(4)
    if kind < 2:
        return "".join(draws.choice(WORDS) for _ in range(draws.number(8) + kind))
    return draws.text(20) if kind == 2 else dump_yaml(any_value(draws)).strip()


def read_argument(text: str, folder: Path) -> None:
    """A text is kept, and never refused."""
    node = parse_argument(text, folder, f"k={text}")
    quoted = text.strip()[:1] in ("'", '"')
    assert node.text == text or (node.value == node.text and quoted)
    if isinstance(node.value, str) and not quoted:
        assert node.value == text


@contextmanager
def some_lines():
    """A refusal of a recipe has not too many lines, and none is long or empty."""
    try:
        yield
    except BadInput as error:
        lines = error.lines()
        assert 0 < len(lines) < 120 and all(line.strip() and len(line) <= LONGEST_LINE for line in lines), lines
        raise


def check_written_again(recipe: Recipe) -> None:
    """What is accepted can be written, and reads as the same."""
    assert load_recipe_text(recipe.dump(), allow_code=True).resolved() == recipe.resolved()


def recipe_text(draws: Draws) -> tuple[str, bool]:
    """A recipe's text with changes, and whether it is written again if it is accepted: one in 32; that is slow."""
    return changed_text(draws.choice(recipe_texts()), text_changes(draws)), draws.number(32) == 0


def recipe_values(draws: Draws) -> tuple[Any, bool]:
    """The values of a recipe with changes, and whether they are read as text: one in 32."""
    return changed_tree(draws.choice(recipe_trees()), tree_changes(draws)), draws.number(32) == 0


def read_recipe(given: tuple[str, bool], folder: Path) -> None:
    """Read a recipe as the one in a checkpoint is read."""
    with some_lines():
        recipe = load_recipe_text(given[0], folder, bare_section=None)
    if given[1]:
        check_written_again(recipe)


def read_recipe_values(given: tuple[Any, bool], folder: Path) -> None:
    """Read a recipe of these values, most of them without scanning its text, which takes two thirds of the time."""
    if given[1]:
        return read_recipe((json.dumps(given[0]), True), folder)
    scanned = YamlDumper(bytesio.StringIO()).represent_data(given[0])
    with patch.object(yaml, "compose", return_value=scanned):
        read_recipe(("", False), folder)


def keys_with_values(values: dict[str, Any], path: str = ""):
    """Every key path of a resolved recipe, with the value as the command line writes it."""
    for name, value in values.items():
        yield f"{path}{name}", dump_yaml(value).removesuffix("...\n").strip()
        yield from keys_with_values(value, f"{path}{name}.") if isinstance(value, dict) else ()


@functools.cache
def changed_recipes() -> list[tuple[Recipe, list[tuple[str, str]]]]:
    """Recipes that are changed, each with its keys and their values."""
    recipes = [load_recipe_text(text) for text in dict.fromkeys(recipe_texts())]
    others = [("data.root", "x"), ("x-note", "x"), ("sample.conditions.label", "x"), ("nmae", "x")]
    return [(recipe, [*keys_with_values(recipe.resolved()), *others]) for recipe in recipes]


def overrides_case(draws: Draws) -> tuple[Recipe, list[str], bool]:
    """A recipe with one or two arguments `key=value`; one in four values is that of the recipe."""
    recipe, keys = draws.choice(changed_recipes())
    arguments = []
    for _ in range(1 + draws.number(2)):
        kind, (key, value) = draws.number(8), draws.choice(keys)
        key, value = argument_text(draws) if kind == 7 else key, value if kind < 2 else argument_text(draws)
        arguments.append(f"{key}={value}")
    return recipe, arguments, draws.number(32) == 0


def read_overrides(given: tuple[Recipe, list[str], bool], folder: Path) -> None:
    """Apply the arguments as `train` and `sample` do."""
    recipe, arguments, written = given
    with some_lines():
        changed = recipe.with_overrides(arguments, bare_section=None, cwd=folder)
    if written:
        check_written_again(changed)


# --- checkpoints ---


def stored_plan(nfe: int = 4) -> dict[str, Any]:
    """A plan of so many evaluations, as `sonolux calibrate` stores it."""
    schedule = EDM()
    rows = plan_to_json(DPMpp2M().plan(schedule, Karras().levels(schedule, nfe)))
    return {"nfe": nfe, "guidance": None, "rows": rows}


@functools.cache
def checkpoint_parts() -> CheckpointParts:
    """The checkpoint of a small network after one step, with a plan and lengths."""
    state = os.environ.get("XDG_STATE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_STATE_HOME"] = folder  # the key of this user is not for a run that is removed
        try:
            recipe = load_recipe_text(SMALL["image"], partial=False)
            job = TrainingRun(recipe, Path(folder) / "run", say=lambda _: None, bar=False)
            job.prepare()
            job.run()
        finally:
            del os.environ["XDG_STATE_HOME"]
            if state is not None:
                os.environ["XDG_STATE_HOME"] = state
        parts = CheckpointParts.of(newest_checkpoint(Path(folder) / "run"))
    parts.facts["plans"] = {"4": stored_plan()}
    parts.facts["clip_lengths"] = [[3, None], [4, 1]]
    parts.facts["recipe"] = SMALL["image"]  # read three times as fast as the one with every default
    return parts


def header_values(draws: Draws) -> bytes:
    """A checkpoint with other values in its header."""
    parts = checkpoint_parts()
    return parts.to_bytes(json.dumps(changed_tree(parts.facts, tree_changes(draws))))


def header_text(draws: Draws) -> bytes:
    """A checkpoint with changes in the text of its header, or in that of its recipe."""
    parts, inside = checkpoint_parts(), draws.number(2)
    if inside:
        return parts.to_bytes(changed_text(json.dumps(parts.facts), text_changes(draws)))
    return parts.to_bytes(
        json.dumps({**parts.facts, "recipe": changed_text(parts.facts["recipe"], text_changes(draws))})
    )


def header_bytes(draws: Draws) -> bytes:
    """A checkpoint with changed bytes in its header, or another length of it."""
    made = checkpoint_parts().to_bytes()
    end = 8 + int.from_bytes(made[:8], "little")
    if draws.number(8) == 7:
        made = draws.take(8) + made[8:]
    return made[:8] + mutated(made[8:end], draws) + made[end:]


def plan_values(draws: Draws) -> bytes:
    """A checkpoint with other values in its plans."""
    parts = checkpoint_parts()
    plans = changed_tree(parts.facts["plans"], tree_changes(draws))
    return parts.to_bytes(json.dumps({**parts.facts, "plans": plans}))


def read_checkpoint(path: Path) -> None:
    """Open it, as sampling does."""
    with one_line(path, 200):
        open_checkpoint(path, "cpu")


def read_plans(path: Path) -> None:
    """Read the header and its plans, which are then as they were written."""
    with one_line(path, 200):
        plans = read_header(path).plans
    for nfe, plan in plans.items():
        found = plan_from_json(plan["rows"])
        assert found.nfe == nfe and len(plan_to_json(found)) == len(plan["rows"])


def checkpoint_reader(name: str, make: Callable[[Draws], bytes], read: Callable[[Path], None]) -> Reader:
    """The reader of a checkpoint."""

    def read_bytes(made: bytes, folder: Path) -> None:
        path = folder / "c.safetensors"
        write_over(path, made)
        read(path)

    return Reader(name, make, read_bytes)


# --- files of output folders ---

SAMPLES = json.dumps({"settings": {"seed": 3}, "samples": [{"file": "0-a.png", "label": "a"}, {"file": "1.png"}]})
HASHES = "".join(json.dumps({"file": f"{n}.png", "hash": str(n) * 8, "label": None}) + "\n" for n in range(3))
LOG = "".join(json.dumps({"step": n, "loss": 0.5, "objective": {"tau": 0.1}}) + "\n" for n in range(4))
SUMMARY = json.dumps({"recipe_sha256": "00", "near_copies": [{"files": ["a", "b"], "likeness": 0.9}], "usable": 2})


class OneExample:
    """A dataset of one example."""

    def manifest(self) -> list[dict[str, str]]:
        """Its file and hash."""
        return [{"file": "0.png", "hash": "00000000"}]


def read_samples(path: Path) -> None:
    """Read as `--overwrite` does, and as `eval --folder` does."""
    saved_sample_files(path.parent)
    read_sample_list(path)


def read_hashes(path: Path) -> None:
    """Read as `--resume` does, and as `eval` does."""
    describe_data_changes(path, "0", OneExample())
    recorded_training_hashes(path)


def read_log(path: Path) -> None:
    """What `--resume` leaves are whole lines of the steps so far."""
    RunDir(path.parent).truncate_log(2)
    rows = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
    assert all(row.get("step", 0) <= 2 for row in rows)


def read_watched_log(path: Path) -> None:
    """What `sonolux watch` shows of a log are lines, whatever the log holds."""
    (path.parent / "resolved.yaml").write_text("name: tiny\ntrain: {steps: 9}\n", encoding="utf-8")
    record = read_run(path.parent)
    json.dumps(record.to_dict())
    assert all(run_lines(record))


TEXTS = "a red circle\nun cercle rouge, très petit\n\n赤い丸 😀\n"


def read_captions(path: Path) -> None:
    """The captions of a picture next to it are texts that a manifest can hold."""
    found = read_sidecar(path.with_suffix(".png"))
    manifests.format_manifest_line({"caption": found}).encode()


def read_prompts(path: Path) -> None:
    """Prompts are texts without spaces around them."""
    assert all(prompt == prompt.strip() != "" for prompt in read_prompt_file(path))


# --- learned codecs, encoded examples ---


def tiny_codec(file: Path | None = None) -> Autoencoder:
    """A learned codec of a few weights, with those of a file."""
    spec = MediaSpec("image", 1, ("height", "width"), (2, 2))
    return Autoencoder(spec, factor=1, latent=1, width=1, blocks=1, file=file)


@functools.cache
def codec_file() -> bytes:
    """The file of a learned codec."""
    with tempfile.TemporaryDirectory() as folder:
        tiny_codec().write(Path(folder) / "codec.safetensors")
        return (Path(folder) / "codec.safetensors").read_bytes()


def read_codec(path: Path) -> None:
    """A codec that is read has finite weights."""
    with one_line(path):
        codec = tiny_codec(path)
    assert all(bool(torch.isfinite(p).all()) for p in codec.latents.parts.parameters())


LATENT_KEYS = [bytes([i]) * 16 for i in range(3)]
LATENTS = torch.arange(6, dtype=torch.float32).reshape(3, 2)


@functools.cache
def latents_file() -> bytes:
    """A file of three encoded examples."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "latents.bin"
        LatentFile(lambda: path, b"f" * 16, (2,)).put(LATENT_KEYS, LATENTS)
        return path.read_bytes()


def read_latents(path: Path) -> None:
    """What is read is what was stored, and what is lost can be stored again."""
    for _ in range(2):
        file = LatentFile(lambda: path, b"f" * 16, (2,))
        found = file.get(LATENT_KEYS)
        assert all(a is None or torch.equal(a, b) for a, b in zip(found, LATENTS, strict=True))
        file.put(LATENT_KEYS, LATENTS)
    assert all(a is not None for a in LatentFile(lambda: path, b"f" * 16, (2,)).get(LATENT_KEYS))


READERS = {
    reader.name: reader
    for reader in (
        sound_reader("wav", "WAV", "PCM_16"),
        sound_reader("flac", "FLAC"),
        sound_reader("ogg", "OGG", "VORBIS"),
        sound_reader("mp3", "MP3"),
        sound_reader("float.wav", "WAV", "FLOAT"),
        sound_reader("aiff", "AIFF"),
        sound_reader("opus", "OGG", "OPUS"),
        picture_reader("png", "PNG", "RGBA", profile=True),
        picture_reader("jpg", "JPEG", profile=True),
        picture_reader("gif", "GIF", "P", transparency=3),
        picture_reader("palette.png", "PNG", "P", transparency=3),
        picture_reader("progressive.jpg", "JPEG", "CMYK", progressive=True),
        picture_reader("tif", "TIFF", compression="tiff_lzw"),
        picture_reader("webp", "WEBP", "RGBA"),
        Reader("csv", csv_case, read_table),
        Reader("jsonl", jsonl_case, read_table),
        Reader("manifest", manifest_case, read_manifest),
        file_reader("samples.json", "samples.json", SAMPLES.encode, read_samples),
        file_reader("data.jsonl", "data.jsonl", HASHES.encode, read_hashes),
        file_reader("summary.json", "summary.json", SUMMARY.encode, lambda path: read_stored_summary(path.parent)),
        file_reader("metrics.jsonl", "metrics.jsonl", LOG.encode, read_log),
        file_reader("watched log", "metrics.jsonl", LOG.encode, read_watched_log),
        file_reader("captions", "a.txt", TEXTS.encode, read_captions),
        file_reader("prompts", "prompts.txt", TEXTS.encode, read_prompts),
        file_reader("codec", "codec.safetensors", codec_file, read_codec),
        file_reader("latents", "latents.bin", latents_file, read_latents),
        Reader("argument", argument_text, read_argument),
        Reader("overrides", overrides_case, read_overrides),
        Reader("recipe values", recipe_values, read_recipe_values),
        Reader("recipe text", recipe_text, read_recipe),
        checkpoint_reader("plans", plan_values, read_plans),
        checkpoint_reader("checkpoint values", header_values, read_checkpoint),
        checkpoint_reader("checkpoint text", header_text, read_checkpoint),
        checkpoint_reader("checkpoint bytes", header_bytes, read_checkpoint),
    )
}
