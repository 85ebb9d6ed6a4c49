"""Golden losses: the loss of the first 20 steps of every shipped recipe, on synthetic data, as text files.

    python benchmarks/golden_losses.py [NAME ...]     write tests/assets/losses/NAME.txt, all recipes by default
    python benchmarks/golden_losses.py --check        compare with the files instead

In float32 on one thread of a CPU. A change that intentionally changes training must rewrite the files; any other change
must leave them unchanged. tests/recipes/test_golden_losses.py replays them.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sonolux.core.config.load import load_recipe, packaged_recipes
from sonolux.core.training.build import build_dataset, build_model_components, fit_codec
from sonolux.core.training.step import Trainer

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "assets" / "losses"
STEPS = 20
TOLERANCE = 1e-4  # relative: other processors sum in a different order
EXACT = ["train.precision=float32", "train.device=cpu", "train.workers=0"]
SHORT = [f"train.steps={STEPS}", "train.minutes=null", "train.batch=4", "train.warmup=5"]
SMALL = {  # with these changes 20 steps of a recipe take about a second
    "audio/bandwidth_sfx": ["network.width=32"],
    "audio/continue_textures": ["network.width=32"],
    "audio/game_sounds": ["network.width=32", "modality.seconds=0.5"],
    "audio/game_sounds_dit": ["modality.seconds=0.5"],
    "audio/one_shots": ["network.width=32"],
    "audio/sfx_16k": ["network.width=32"],
    "audio/sfx_44k": ["network.width=32", "modality.seconds=0.4"],
    "audio/sfx_folder": ["network.width=32"],
    "audio/sfx_small": ["network.width=32"],
    "audio/spoken_digits": ["network.width=32"],
    "audio/stereo_textures": ["network.width=32"],
    "audio/synth_sfx": ["network.width=32"],
    "audio/text_sfx": ["network.width=32"],
    "audio/textures": ["network.width=32"],
    "image/cifar10": ["network.width=32"],
    "image/emoji": ["network.width=32"],
    "image/emoji_dit": ["network.size=nano"],
    "image/folder": ["network.width=32"],
    "image/inpaint_shapes": ["network.width=32"],
    "image/latent_shapes": ["network.width=32", "codec.steps=3", "codec.width=8", "codec.batch=4"],
    "image/text_shapes": ["network.width=32"],
}


@dataclass(frozen=True)
class Golden:
    """A recipe's losses.

    Attributes:
        changes: Changes of the recipe, apart from the location of its data.
        losses: One loss per step.
    """

    changes: tuple[str, ...]
    losses: tuple[float, ...]


def made_sounds(root: Path, classes: int = 2, each: int = 6) -> None:
    """Decaying tones of different lengths at 8 kHz, one folder per class."""
    import soundfile

    for n in range(classes * each):
        t = np.arange(2000 + 350 * n) / 8000
        tone = 0.5 * np.sin(2 * np.pi * (220 + 55 * n) * t) * np.exp(-(3 + n % 4) * t)
        place = root / str(n % classes) / f"{n}.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(place, tone, 8000)


def made_pictures(root: Path, classes: int = 2, each: int = 6) -> None:
    """Coloured stripes and circles, one folder per class."""
    from PIL import Image

    y, x = np.mgrid[0:72, 0:72]
    for n in range(classes * each):
        red, green = (x * (n + 2) + 3 * y) % 256, (np.hypot(x - 36, y - 20 - n) * 9) % 256
        place = root / str(n % classes) / f"{n}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.stack([red, green, (red + green) // 2], -1).astype(np.uint8)).save(place)


def made_captions(root: Path) -> Path:
    """A table of the files in `root` with a caption and a style of each."""
    table = root / "captions.jsonl"
    files = sorted(path.relative_to(root).as_posix() for path in root.glob("*/*"))
    rows = [
        {"file": file, "caption": f"number {file}", "style": ("noto", "twemoji")[i % 2]} for i, file in enumerate(files)
    ]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return table


def changes_of(name: str) -> list[str]:
    """The changes of a shipped recipe."""
    made = [] if needs_root(name) else ["data.count=32"]
    return [*SHORT, *made, *SMALL.get(name, [])]


def recipe_text(name: str) -> str:
    """The text of a recipe, and of those that it extends."""
    text = packaged_recipes()[name].read_text(encoding="utf-8")
    above = re.search(r"^extends: (\S+)$", text, re.M)
    return text if above is None else text + recipe_text(above.group(1))


def needs_root(name: str) -> bool:
    """Whether a recipe trains on the user's files."""
    return "root: null" in recipe_text(name)


def needs_table(name: str) -> bool:
    """Whether a recipe trains on the user's captions."""
    return "table: null" in recipe_text(name)


def losses_of(name: str, changes: list[str], folder: Path) -> tuple[float, ...]:
    """The losses of the first steps of a recipe; synthetic data are written to `folder` if it requires files."""
    if needs_root(name):
        (made_sounds if name.startswith("audio/") else made_pictures)(folder)
        changes = [*changes, f"data.root={folder}"]
    if needs_table(name):
        changes = [*changes, f"data.table={made_captions(folder)}"]
    with one_thread():
        recipe = load_recipe(name, [*EXACT, *changes])
        data, spec = build_dataset(recipe)
        parts = build_model_components(recipe, spec)
        fit_codec(parts.codec, data)
        trainer = Trainer(parts, data, torch.device("cpu"))
        return tuple(float(trainer.train_step(step / STEPS).loss) for step in range(STEPS))


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: sums over several threads depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def write(path: Path, name: str, golden: Golden) -> None:
    """Write a file of losses: the recipe, one line per change, one line per step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = [f"# {name}, float32, one thread", *(f"# {change}" for change in golden.changes)]
    rows = [f"{step} {loss:.8g}" for step, loss in enumerate(golden.losses, 1)]
    path.write_text("\n".join([*head, *rows]) + "\n", encoding="utf-8")


def read(path: Path) -> Golden:
    """Read a file of losses."""
    lines = path.read_text(encoding="utf-8").splitlines()
    changes = tuple(line[2:] for line in lines[1:] if line.startswith("# "))
    return Golden(changes, tuple(float(line.split()[1]) for line in lines if not line.startswith("#")))


def differences(golden: Golden, found: tuple[float, ...]) -> list[str]:
    """The steps whose losses have changed, as text."""
    pairs = enumerate(zip(golden.losses, found, strict=True), 1)
    return [f"step {n}: {new:.8g}, was {old:.8g}" for n, (old, new) in pairs if abs(new - old) > TOLERANCE * abs(old)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="recipes, all by default")
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in packaged_recipes()]:
        parser.error(f"there is no recipe {unknown[0]!r}: the recipes are {', '.join(packaged_recipes())}")
    if args.check and (new := [name for name in args.names if not (FOLDER / f"{name}.txt").is_file()]):
        parser.error(f"{new[0]} has no file of losses to compare with: leave --check out")
    for name in args.names or packaged_recipes():
        path, began = FOLDER / f"{name}.txt", time.process_time()
        golden = read(path) if args.check else Golden(tuple(changes_of(name)), ())
        with tempfile.TemporaryDirectory() as folder:
            found = losses_of(name, list(golden.changes), Path(folder))
        wrong = differences(golden, found) if args.check else []
        if not args.check:
            write(path, name, Golden(golden.changes, found))
        verdict = "; ".join(wrong) or ("the same" if args.check else "written")
        print(
            f"{name:22} {time.process_time() - began:5.1f} s of processor time   last loss {found[-1]:.4f}   {verdict}"
        )


if __name__ == "__main__":
    main()
