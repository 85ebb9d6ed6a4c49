"""sonolux eval end to end: runs of pictures and of sounds, folders of samples, JSON, refusals that leave nothing."""

import io
import json
import math
import shutil
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest
import torch
from sonolux.core.cli.eval import default_report_folder
from sonolux.core.cli.main import main
from sonolux.core.evaluation import stored_networks
from sonolux.core.pipeline.pipeline import Pipeline
from sonolux.modalities.audio import io as sound_io
from sonolux.modalities.audio.modality import Audio


@dataclass
class Told:
    exit_code: int
    stdout: str
    output: str


def told(*arguments):
    """The command as a user runs it, errors told as `main` tells them."""
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        code = main(["eval", *(str(a) for a in arguments)])
    return Told(code, out.getvalue(), out.getvalue() + errors.getvalue())


def measured(*arguments):
    found = told(*arguments)
    assert found.exit_code == 0, found.output
    return found


def left(folder):
    """Everything in a folder, hidden parts too."""
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def finite(value):
    """Every number of a JSON document is finite: no NaN, which is no JSON."""
    if isinstance(value, dict):
        return all(finite(v) for v in value.values())
    if isinstance(value, list):
        return all(finite(v) for v in value)
    return not isinstance(value, float) or math.isfinite(value)


@pytest.fixture(scope="module")
def pictures(tiny_pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "report"
    return measured(tiny_pictures, "--out", out).output, out


@pytest.fixture(scope="module")
def sounds(tiny_sounds, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "report"
    return measured(tiny_sounds, "--out", out, "--json").stdout, out


@pytest.mark.slow
def test_pictures(pictures):
    text, out = pictures
    assert left(out) == ["metrics.json", "report.html", "samples"] and left(out.parent) == ["report"]
    figures = json.loads((out / "metrics.json").read_text())["figures"]
    assert list(figures) == ["Distances, image/learned", "Recognition", "Memorization", "Defects", "Distributions"]
    assert set(figures["Distributions"]) == {"brightness", "contrast", "saturation", "sharpness"}
    assert "MMD x 1000" in text and "real pictures through the codec" in text and "first look" in text
    assert set(figures["Recognition"]) == {"recognised"}


@pytest.mark.slow
def test_sounds_of_many_lengths_as_json(sounds, tiny_sounds):
    text, out = sounds
    facts = json.loads(text)
    assert facts == json.loads((out / "metrics.json").read_text()) and finite(facts)
    assert facts["samples"]["made"] == 16 == facts["samples"]["measured"] + facts["samples"]["unusable"]
    names = {len(sound_io.read_sound(p, 4000, 1).wave[0]) for p in (out / "samples").glob("*.wav")}
    assert len(names) > 2, "the samples have lengths of their own"
    assert {row["label"] for row in facts["each"]} == {"hiss", "sweep", "tone"}
    references = facts["figures"]["Distances, audio/logmel_stats"]["mmd"]["references"]
    assert set(references) == {"real sounds", "real sounds through the codec"}
    assert set(facts["figures"]["Distances, audio/tonality_stats"]) == {"mmd"}
    assert set(facts["distributions"]["flatness"]) == {"all", "hiss", "sweep", "tone"} or len(facts["each"]) < 24
    assert facts["distributions"]["peak"]["all"]["samples"]["count"] == facts["samples"]["measured"]
    assert all(set(row["outside"]) <= set(facts["distributions"]) for row in facts["each"])
    # a network of four steps makes what no real sound is
    assert facts["figures"]["Distances, audio/logmel_stats"]["mmd"]["value"] > 3 * references["real sounds"]["high"]


@pytest.mark.slow
def test_samples_in_a_folder_are_measured_as_those_of_the_run(sounds, tiny_sounds, tmp_path):
    """The same samples, by samples.json: the same figures, though made elsewhere."""
    facts = json.loads(sounds[0])
    again = json.loads(
        measured(tiny_sounds, "--folder", sounds[1] / "samples", "--out", tmp_path / "r", "--json").stdout
    )
    for heading in ("Distances, audio/logmel_stats", "Recognition", "Memorization"):
        for key, found in facts["figures"][heading].items():
            assert again["figures"][heading][key]["value"] == pytest.approx(found["value"], abs=1e-6), key


@pytest.mark.slow
def test_real_sounds_in_folders_of_classes_pass(tiny_sounds, made_sounds, tmp_path):
    """Fresh real sounds, without samples.json: recognised and near the data; one that is a quieter copy is named."""
    folder = made_sounds(tmp_path / "fresh", 12, seed=9)
    rows = [json.loads(line) for line in (tiny_sounds / "data.jsonl").read_text().splitlines()]
    known = next(row["file"] for row in rows if "hiss" in row["file"])
    wave = sound_io.read_sound(tiny_sounds.parent / "data" / known, 4000, 1).wave
    Audio(4000, 0.4).write(folder / "hiss" / "stolen.wav", 0.3 * wave)
    facts = json.loads(measured(tiny_sounds, "--folder", folder, "--out", tmp_path / "r", "--json").stdout)
    mmd = facts["figures"]["Distances, audio/logmel_stats"]["mmd"]
    assert mmd["value"] < 3 * mmd["references"]["real sounds"]["high"]
    assert facts["figures"]["Recognition"]["recognised"]["value"] > 0.8
    stolen = next(row for row in facts["each"] if row["file"].endswith("stolen.wav"))
    assert stolen["nearest"] == known and stolen["similarity"] > 0.99
    assert not (tmp_path / "r" / "samples").exists(), "samples that were there already are not copied"


@pytest.mark.slow
def test_a_recipe_and_a_folder_need_no_run(tiny_sounds, made_sounds, tmp_path):
    folder = made_sounds(tmp_path / "fresh", 4, seed=9)
    recipe, root = tiny_sounds.parent / "recipe.yaml", tiny_sounds.parent / "data"
    changes = (f"data.root={root}", "novelty=false", "shown=0")
    facts = json.loads(measured(recipe, *changes, "--folder", folder, "--out", tmp_path / "r", "--json").stdout)
    assert "Memorization" not in facts["figures"] and facts["samples"]["made"] == 12


@pytest.mark.slow
def test_damaged_samples_count_and_their_places_hold(tiny_sounds, made_sounds, tmp_path):
    folder = made_sounds(tmp_path / "fresh", 4, seed=9)
    (folder / "hiss" / "000.wav").write_bytes(b"no sound")
    Audio(4000, 0.4).write(folder / "tone" / "002.wav", torch.zeros(1, 1000))
    changes = ("novelty=false", "shown=0")
    facts = json.loads(measured(tiny_sounds, *changes, "--folder", folder, "--out", tmp_path / "r", "--json").stdout)
    assert facts["samples"]["unusable"] >= 1 and facts["samples"]["made"] == 12
    assert facts["figures"]["Defects"]["unusable"]["value"] == pytest.approx(facts["samples"]["unusable"] / 12)
    assert all(row["file"].startswith(row["label"]) for row in facts["each"])
    told_right = facts["figures"]["Recognition"]["recognised"]["value"]
    seen = sum(row["label"] == row["recognised"] for row in facts["each"])
    assert told_right == pytest.approx(seen / 12), "unusable samples count as not recognised"


@pytest.mark.slow
def test_samples_that_are_not_finite_are_counted(tiny_pictures, tmp_path, monkeypatch):
    true = Pipeline.generate

    def some_broken(self, *arguments, **named):
        samples = true(self, *arguments, **named)
        for i in (0, 7):
            samples.media[i] = torch.full_like(samples.media[i], math.nan)
        return samples

    monkeypatch.setattr(Pipeline, "generate", some_broken)
    facts = json.loads(measured(tiny_pictures, "novelty=false", "--out", tmp_path / "r", "--json").stdout)
    assert facts["samples"] == {"unusable": 0, "made": 20, "not finite": 2, "scaled": 0, "measured": 18}
    assert facts["figures"]["Defects"]["not finite"]["value"] == pytest.approx(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("standardise", [True, False])
def test_a_feature_of_ones_own(tiny_pictures, tmp_path, standardise):
    """Numbers of different units are standardised, so that their unit does not matter; those of one unit are not."""
    found = []
    for unit in (1, 10):
        (tmp_path / f"in_{unit}.py").write_text(
            "class Feature:\n"
            '    """Rows of means."""\n\n'
            f"    standardise = {standardise}\n\n"
            "    def __call__(self, media):\n"
            "        import torch\n\n"
            f"        return {unit} * torch.stack([m.mean((0, 1)) for m in media])\n"
        )
        changes = (f"feature={tmp_path / f'in_{unit}.py'}:Feature", "novelty=false", "shown=0")
        facts = json.loads(measured(tiny_pictures, *changes, "--out", tmp_path / f"r{unit}", "--json").stdout)
        (heading,) = (h for h in facts["figures"] if f"in_{unit}.py" in h)
        found.append(facts["figures"][heading]["frechet"]["value"])
    assert found[1] == pytest.approx(found[0] * (1 if standardise else 100), rel=1e-6)


@pytest.mark.slow
def test_metrics_of_ones_choice(tiny_pictures, tmp_path):
    """eval.metrics: built-in ones with parameters, and a class of one's own, in the order named."""
    (tmp_path / "mine.py").write_text(
        "from sonolux.core.evaluation.metrics.base import Metric, MetricColumn\n\n\n"
        "class Shift(Metric):\n"
        '    """Distance of the means."""\n\n'
        "    results = (MetricColumn('shift', 'shift of the mean'),)\n\n"
        "    def __call__(self, generated, real, groups=None):\n"
        "        return {'shift': float(((generated.mean(0) - real.mean(0)) ** 2).sum() ** 0.5)}\n"
    )
    chosen = f"metrics=[precision_recall, {{use: mmd, bandwidth: 3.0}}, '{tmp_path / 'mine.py'}:Shift']"
    changes = ("feature=image/learned", chosen, "novelty=false", "shown=0")
    facts = json.loads(measured(tiny_pictures, *changes, "--out", tmp_path / "r", "--json").stdout)
    found = facts["figures"]["Distances, image/learned"]
    assert list(found) == ["mmd", "shift"], "too few samples for precision and recall"
    assert found["shift"]["value"] > 0 and found["shift"]["low"] < found["shift"]["value"] < found["shift"]["high"]
    assert "no difference" in found["shift"]["meaning"] or "times the real" in found["shift"]["meaning"]


@pytest.mark.slow
def test_a_distance_that_needs_more_samples_of_each_class_is_named(tiny_pictures, tmp_path):
    changes = (
        "count=8",
        f"sample.label=[{5 * 'circle,'}square,star,triangle]",
        "novelty=false",
        "shown=0",
        "feature=image/learned",
        "--json",
    )
    facts = json.loads(measured(tiny_pictures, *changes, "--out", tmp_path / "r").stdout)
    assert list(facts["figures"]["Distances, image/learned"]) == ["frechet"]
    assert [remark for remark in facts["remarks"] if "left out" in remark] == [
        "MMD x 1000: left out, since about four of each class are needed, and there are fewer "
        "samples and real pictures."
    ]


REFUSED = [
    (["nowhere"], "nowhere"),
    (["RUN", "count=4"], "eval.count"),
    (["RUN", "cuont=40"], "count"),
    (["RUN", "metrics=[mmd2]"], "did you mean 'mmd'?"),
    (["RUN", "train.steps=3"], "eval changes data.*"),
    (["RUN", "data.split.valid=0.5"], "the split is the run's"),
    (["RUN", "count"], "changes are key=value"),
    (["RUN", "feature.use=audio/clap"], "weights"),
    (["RUN", "feature=audio/clap", "feature.weights=nothing"], "no CLAP model in"),
    (["RUN", "data.root=nothing"], "data.root"),
    (["RUN", "--folder", "EMPTY"], "holds no samples"),
    (["RUN", "--folder", "nothing"], "no such folder"),
    (["RUN", "--folder", "BROKEN"], "samples.json: damaged: samples"),
    (["RUN", "--folder", "FEW"], "distances need 8 of each"),
    (["recipe.yaml"], "recipe.yaml"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[" ".join(a) for a, _ in REFUSED])
def test_refusals_leave_nothing(tiny_sounds, made_sounds, tmp_path, arguments, message):
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "BROKEN").mkdir()
    (tmp_path / "BROKEN" / "samples.json").write_text('{"samples": 3}')
    made_sounds(tmp_path / "FEW", 1)
    places = {"RUN": tiny_sounds, **{name: tmp_path / name for name in ("EMPTY", "BROKEN", "FEW")}}
    (tmp_path / "out").mkdir()
    found = told(*(places.get(a, a) for a in arguments), "--out", tmp_path / "out" / "report")
    assert found.exit_code == 2, found.output
    assert message in found.output and "Traceback" not in found.output
    assert left(tmp_path / "out") == []


def test_an_earlier_report_stands_until_a_new_one_is_whole(pictures, sounds, tiny_pictures, tiny_sounds, tmp_path):
    out = tmp_path / "report"
    shutil.copytree(pictures[1], out)
    assert "--overwrite" in told(tiny_pictures, "--out", out).output
    before = (out / "report.html").read_bytes()
    failed = told(tiny_pictures, "--folder", tmp_path / "nothing", "--out", out, "--overwrite")
    assert failed.exit_code == 2 and (out / "report.html").read_bytes() == before and left(tmp_path) == ["report"]
    inside = told(tiny_pictures, "--folder", out / "samples", "--out", out, "--overwrite")
    assert inside.exit_code == 2 and "lies in what --out" in inside.output and (out / "samples").is_dir()
    among = told(tiny_sounds, "--out", tiny_sounds.parent / "data" / "report")
    assert among.exit_code == 2 and "whose files are read" in among.output
    file = tmp_path / "file"
    file.write_text("")
    assert told(tiny_pictures, "--out", file).exit_code == 2


@pytest.mark.slow
def test_the_same_figures_twice(pictures, tiny_pictures, tmp_path):
    """Both train their network: none is left in memory from the first run, or kept in a folder."""
    stored_networks._MEMORY.clear()
    again = measured(tiny_pictures, "--out", tmp_path / "r", "--json").stdout
    first = json.loads((pictures[1] / "metrics.json").read_text())
    assert json.loads(again)["figures"] == first["figures"]


@pytest.mark.slow
def test_a_large_page_has_its_files_next_to_it(tiny_sounds, sounds, tmp_path):
    changes = ("embed=0", "novelty=false")
    measured(tiny_sounds, *changes, "--folder", sounds[1] / "samples", "--out", tmp_path / "r")
    page = (tmp_path / "r" / "report.html").read_text()
    assert "data:audio" not in page and "data:audio" in (sounds[1] / "report.html").read_text()
    found = [part.split('"')[0] for part in page.split('src="')[1:]]
    assert found and all((tmp_path / "r" / name).is_file() for name in found)


def test_the_report_of_a_run_lies_in_its_folder_by_default(tmp_path, monkeypatch):
    checkpoint = tmp_path / "run/checkpoints/step-00000004.safetensors"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    (tmp_path / "alone.safetensors").touch()
    assert (
        default_report_folder(str(tmp_path / "run")) == tmp_path / "run/eval" == default_report_folder(str(checkpoint))
    )
    assert default_report_folder(str(tmp_path / "alone.safetensors")) == tmp_path / "eval"
    for arguments, said in (
        (("digits.yaml", "--folder", "x"), "--out names the folder"),
        (("nothing",), "no such run"),
    ):
        monkeypatch.chdir(tmp_path)
        refused = told(*arguments)
        assert refused.exit_code == 2 and said in refused.output
