"""The quality benchmarks on tiny made data: samples read back, classifier kept, figures of planted faults, messages."""

import importlib
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from sonolux.core.recipe.load import load_recipe
from sonolux.core.types import BadInput
from sonolux.modalities.audio.modality import Audio
from sonolux.modalities.image.modality import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
bench, classifier = importlib.import_module("_bench"), importlib.import_module("_classifier")
Settings = classifier.Settings
SMALL = Settings(widths=(8, 16), width=16, epochs=6, batch=16, lr=1e-2)


def bars(label, n, seed, channels=1, size=28):
    """Noisy pictures (n, C, size, size) of bars: class 0 lies, 1 stands, 2 is a square."""
    rng = torch.Generator().manual_seed(seed)
    out = 0.1 * torch.randn(n, channels, size, size, generator=rng) - 0.8
    for picture in out:
        y, x = torch.randint(4, size - 16, (2,), generator=rng).tolist()
        height, width = ((4, 14), (14, 4), (10, 10))[label]
        picture[:, y : y + height, x : x + width] += 1.6
    return out.clamp(-1, 1)


def pictures(folder, n, seed, labels=(0, 1, 2), channels=1, size=28):
    modality = Image(size=size, channels=channels)
    for label in labels:
        (folder / str(label)).mkdir(parents=True)
        for i, picture in enumerate(bars(label, n, seed + label, channels, size)):
            modality.write(folder / str(label) / f"{i:03d}.png", picture)
    return folder


def tone(pitch, seconds, rate, rng):
    t = torch.arange(int(seconds * rate)) / rate
    bend = 1 + 0.3 * float(torch.rand(1, generator=rng)) * t
    return 0.5 * torch.sin(2 * math.pi * pitch * bend * t)[None] * torch.exp(-5 * t)


def options(module, *arguments):
    p = bench.parser(module.__doc__, 12, "made")
    return p.parse_args([str(a) for a in arguments])


@pytest.fixture(scope="module")
def digits_data(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("made") / "digits", 24, seed=0)


@pytest.fixture
def at_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SONOLUX_DATA", raising=False)
    return tmp_path


def figures(table):
    return {f.name: f.value for f in table.figures}


def check_recognised(data, folder):
    """Samples of the right classes are recognised; where two folders are swapped, just those are not."""
    digits = importlib.import_module("digits")
    case = bench.Case("made", load_recipe("digits", [f"data.root={json.dumps(str(data))}"]), folder)
    right = figures(digits.measure(case, SMALL))
    assert right["classifier on held-out digits"] > 0.9 and right["samples recognised"] > 0.9
    assert right["ratio"] == pytest.approx(
        right["Frechet distance, samples"] / right["Frechet distance, training digits"]
    )
    (folder / "0").rename(folder / "x")
    (folder / "1").rename(folder / "0")
    (folder / "x").rename(folder / "1")
    swapped = figures(digits.measure(case, SMALL))
    assert swapped["samples recognised"] < 0.45


def test_digits(digits_data, at_home):
    check_recognised(digits_data, pictures(at_home / "samples", 10, seed=100))


def test_planted_loss_of_the_labels_is_caught(digits_data, at_home, monkeypatch):
    """A benchmark that held the classifier's guesses for the labels would recognise everything."""
    digits = importlib.import_module("digits")

    def flattering(recipe, folder, classes, true=bench.read_back):
        side, unusable = true(recipe, folder, classes)
        model = classifier.trained(*flattering.known, digits.deform, SMALL)
        side.labels = classifier.recognise(model, side.media)[0]
        return side, unusable

    data = bench.real(load_recipe("digits", [f"data.root={json.dumps(str(digits_data))}"])).train
    flattering.known = (data.media, data.labels, 3)
    monkeypatch.setattr(digits, "read_back", flattering)
    with pytest.raises(AssertionError):
        check_recognised(digits_data, pictures(at_home / "samples", 10, seed=100))


def check_classes_by_name(data, folder):
    """A folder of samples that lacks the first class keeps the numbers of the others."""
    recipe = load_recipe("digits", [f"data.root={json.dumps(str(data))}"])
    side, unusable = bench.read_back(recipe, folder, ("0", "1", "2"))
    assert sorted(set(side.labels.tolist())) == [1, 2] and unusable == 0 and len(side) == 8


def test_classes_are_matched_by_name(digits_data, tmp_path):
    check_classes_by_name(digits_data, pictures(tmp_path / "samples", 4, 0, labels=(1, 2)))


def test_planted_numbering_of_the_folders_is_caught(digits_data, tmp_path, monkeypatch):
    def numbered(recipe, split, true=bench.build_data):
        data, signal = true(recipe, split)
        return data, replace(signal, classes=("0", "1", "2")[: len(signal.classes)])

    monkeypatch.setattr(bench, "build_data", numbered)
    with pytest.raises(AssertionError):
        check_classes_by_name(digits_data, pictures(tmp_path / "samples", 4, 0, labels=(1, 2)))


def test_samples_of_another_class_and_broken_ones(digits_data, tmp_path):
    folder = pictures(tmp_path / "samples", 3, 0)
    (folder / "0" / "000.png").write_bytes(b"no picture")
    recipe = load_recipe("digits", [f"data.root={json.dumps(str(digits_data))}"])
    with pytest.warns(UserWarning, match="000.png"):
        side, unusable = bench.read_back(recipe, folder, ("0", "1", "2"))
    assert (len(side), unusable) == (8, 1)
    with pytest.raises(BadInput, match="2 is no class of the real data"):
        bench.read_back(recipe, pictures(tmp_path / "other", 3, 0), ("0", "1"))


def test_cifar10(at_home):
    cifar10 = importlib.import_module("cifar10")
    data = pictures(at_home / "data", 30, seed=0, channels=3, size=32)
    folder = pictures(at_home / "samples", 8, seed=50, channels=3, size=32)
    flat = torch.full((3, 32, 32), 0.1)
    Image(32, 3).write(folder / "0" / "000.png", flat)  # blank
    Image(32, 3).write(folder / "1" / "000.png", torch.randn(3, 32, 32).sign())  # saturated
    copy = data / "2" / "003.png"
    (folder / "2" / "000.png").write_bytes(copy.read_bytes())
    recipe = load_recipe("cifar10", [f"data.root={json.dumps(str(data))}", "data.split.valid=0.3"])
    sources = bench.real(recipe).train.sources
    if "2/003.png" not in sources:  # copies of held-out pictures are no copying
        (folder / "2" / "000.png").write_bytes((data / sources[-1]).read_bytes())
    found = figures(cifar10.measure(bench.Case("made", recipe, folder), SMALL))
    assert found["blank"] == 1 and found["saturated"] == 1 and found["near copies, pixels"] == 1
    assert found["over the floor"] > 0 and math.isfinite(found["novelty, features"])


def sounds(folder, rng, rate=11025, n=20):
    for i in range(n):
        Audio(rate, 1.0).write(folder / f"{i:02d}.wav", tone(200 + 97 * i, 0.6, rate, rng))
    return folder


def test_sfx_folder(at_home):
    sfx = importlib.import_module("sfx_folder")
    rng = torch.Generator().manual_seed(0)
    data, made = sounds(at_home / "data", rng), at_home / "made"
    recipe = load_recipe("sfx_folder", [f"data.root={json.dumps(str(data))}"])
    modality = recipe.modality.build()
    copied = [data / name for name in bench.real(recipe).train.sources[:2]]
    for i, path in enumerate(copied):
        modality.write(made / f"copy{i}.wav", torch.nn.functional.pad(-0.3 * modality.read(path), (500, 0)))
    for i in range(6):
        modality.write(made / f"new{i}.wav", torch.randn(1, 9000, generator=rng).cumsum(1) * (0.4 - 0.06 * i) / 100)
    modality.write(made / "clipped.wav", (3 * tone(333, 1.0, 11025, rng)).clamp(-1, 1))
    modality.write(made / "silent.wav", torch.zeros(1, 9000))
    with pytest.warns(UserWarning, match="silent"):
        found = figures(sfx.measure(bench.Case("made", recipe, made)))
    assert (found["clipped"], found["silent"], found["unusable"]) == (1, 1, 1)
    assert found["near copies of training files"] >= 2
    assert found["the same for planted copies"] == len(bench.real(recipe).train)
    assert found["MMD x 1000, samples"] > found["MMD x 1000, real sounds"]


def test_spoken_digits(at_home):
    spoken = importlib.import_module("spoken_digits")
    rng = torch.Generator().manual_seed(0)
    for folder, n in (("data", 16), ("made", 6)):
        for label, pitch in enumerate((300, 1200)):
            for i in range(n):
                Audio(8000, 1.0).write(
                    at_home / folder / str(label) / f"{i}.wav", tone(pitch * 1.01**i, 0.5, 8000, rng)
                )
    recipe = load_recipe("spoken_digits", [f"data.root={json.dumps(str(at_home / 'data'))}", "data.split.valid=0.4"])
    case = bench.Case("made", recipe, at_home / "made")
    table = spoken.measure(case, Settings(widths=(8, 16), width=16, rows=4, epochs=8, batch=8, lr=1e-2))
    found = figures(table)
    assert found["classifier on held-out sounds"] == 1 and found["samples recognised"] == 1
    assert found["the same after the codec"] == 1 and found["silent"] == 0
    assert "MMD x 1000, real after the codec" in table.text() and json.loads(json.dumps(table.record()))


def test_samples_of_a_run_are_written_by_class(at_home):
    """What a trained run gives is written and read back; an older benchmark's samples go, anything else stays."""
    digits = importlib.import_module("digits")
    asked = {}

    def sample(**changes):
        asked.update(changes)
        media = [bars(i % 3, 1, i)[0] for i in range(changes["count"])]
        return SimpleNamespace(
            media=media, told=[{"label": str(i % 3)} for i in range(len(media))], settings={"steps": 18},
            modality=Image(28, 1), __len__=lambda: len(media),
        )  # fmt: skip

    class Samples(SimpleNamespace):
        def __len__(self):
            return len(self.media)

    trained = SimpleNamespace(sample=lambda **c: Samples(**vars(sample(**c))))
    given = options(digits, "runs/a", "--count", 6, "--set", "steps=30", "--set", "use=heun", "--out", at_home / "out")
    for _ in range(2):
        folder = bench.write_samples(trained, given, "digits-a")
    assert asked == {"count": 6, "seed": 0, "progress": True, "steps": 30, "use": "heun"}
    assert [len(list((folder / c).iterdir())) for c in "012"] == [2, 2, 2]
    (folder / bench.MARK).unlink()
    with pytest.raises(BadInput, match="not an earlier benchmark's"):
        bench.write_samples(trained, given, "digits-a")


def test_messages(at_home, capsys, digits_data):
    digits = importlib.import_module("digits")
    for arguments, words in (
        ([], "name a RUN"),
        (["--folder", at_home], "needs the real data"),
        (["--folder", at_home, "--data", at_home / "nowhere"], "nowhere"),
        (["missing-run"], "missing-run"),
    ):
        assert bench.run(digits.measure, options(digits, *arguments), "digits") == 2
        assert words in capsys.readouterr().err


def test_json(at_home, capsys, digits_data, monkeypatch):
    digits = importlib.import_module("digits")
    folder = pictures(at_home / "samples", 10, seed=100)
    monkeypatch.setenv("SONOLUX_DATA", str(digits_data.parent))
    given = options(digits, "--folder", folder, "--json")
    given.sub = "digits"
    assert bench.run(lambda case: digits.measure(case, SMALL), given, "digits") == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["figures"]["samples recognised"] > 0.9
