"""Items: named, rated, kept, removed, uploaded, and downloaded as a pack that other commands read."""

import io
import json
import zipfile

import pytest
from PIL import Image
from sonolux.core.app.limits import StudioLimits
from sonolux.core.pipeline.sample_list import read_sample_list


def png(size=(16, 16), colour=(200, 30, 30)):
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, "PNG")
    return data.getvalue()


def test_items_are_named_rated_and_kept(client):
    item = client.sampled(count=1)["items"][0]
    changed = client.patch(f"/api/items/{item['id']}", json={"name": "the best", "rating": 5, "kept": True}).json()
    assert (changed["name"], changed["rating"], changed["kept"]) == ("the best", 5, True)
    assert client.patch(f"/api/items/{item['id']}", json={"rating": 2}).json()["name"] == "the best"
    assert client.get("/api/items?kept=1").json()[0]["id"] == item["id"]
    assert item["id"] not in [one["id"] for one in client.get("/api/items?kept=0").json()]
    for wrong in ({"rating": 6}, {"name": ""}, {"path": "/etc/passwd"}, {"name": "x" * 121}):
        assert client.patch(f"/api/items/{item['id']}", json=wrong).status_code == 400


def test_a_removed_item_leaves_no_file(client):
    item = client.sampled(count=1)["items"][0]
    path = client.studio.items.file(client.studio.items.get(item["id"]))
    assert client.delete(f"/api/items/{item['id']}").status_code == 200
    assert not path.exists() and client.get(item["url"]).status_code == 404
    assert not (client.folder / "items" / f"{item['id']}.json").exists()


def test_a_pack_holds_the_files_and_their_list(client, tmp_path):
    job = client.sampled(label="circle")
    client.patch(f"/api/items/{job['items'][0]['id']}", json={"name": "../../a ring?", "rating": 4})
    answer = client.get("/api/pack", params={"items": ",".join(item["id"] for item in job["items"])})
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["0000-.._.._a_ring_.png", "0001-circle.png", "samples.json"]
        archive.extractall(tmp_path)
    listed = read_sample_list(tmp_path / "samples.json").samples
    assert [sample.label for sample in listed] == ["circle", "circle"]
    assert json.loads((tmp_path / "samples.json").read_text())["samples"][0]["rating"] == 4
    assert (tmp_path / listed[1].file).read_bytes() == client.get(job["items"][1]["url"]).content
    assert client.get("/api/pack").status_code == 400 and client.get("/api/pack?items=zz").status_code == 404


def test_uploads_become_items(client):
    answer = client.upload("dog.png", png((20, 12)))
    assert answer.status_code == 201, answer.text
    item = answer.json()
    assert (item["name"], item["origin"], item["width"], item["height"]) == ("dog.png", "upload", 20, 12)
    assert client.get(item["url"]).content == png((20, 12))
    mask = client.upload("mask.png", png(), role="mask").json()
    listed = [one["id"] for one in client.get("/api/items").json()]
    assert item["id"] in listed and mask["id"] not in listed


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("dog.txt", b"hello", "no model here reads such files; there are: .bmp, .gif"),
        ("dog.png", b"hello", "the file cannot be read: dog.png"),
        ("dog.png", png()[:60], "the file cannot be read"),
        ("dog.html", b"<script>alert(1)</script>", "no model here reads such files"),
        ("dog.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no model here reads such files"),
    ],
)
def test_other_uploads_are_refused_and_leave_nothing(client, name, data, text):
    before = sorted((client.folder / "uploads").glob("*"))
    answer = client.upload(name, data)
    assert answer.status_code == 400 and text in answer.json()["error"]
    assert str(client.folder) not in answer.json()["error"]
    assert sorted((client.folder / "uploads").glob("*")) == before


HOSTILE = [
    "../../../etc/cron.d/x.png",
    "..\\..\\x.png",
    "/etc/x.png",
    "-rf.png",
    ".hidden.png",
    "a\x00b.png",
    "a\nb\x1b[31m.png",
    "‮gnp.exe.png",
    "CON.png",
    "x" * 300 + ".png",
    "<img src=x onerror=alert(1)>.png",
    "дом 家.png",
    "; rm -rf ~ #.png",
    "..png",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_stay_in_the_folder(client, name):
    answer = client.upload(name, png())
    assert answer.status_code in (201, 400), answer.text
    if answer.status_code == 201:
        item = client.studio.items.get(answer.json()["id"])
        path = client.studio.items.file(item)
        assert path.parent == client.folder / "uploads" / item.id
        assert path.name[0] not in ".-" and len(path.name) < 100 and path.name.isprintable()
        assert answer.json()["name"].isprintable()
        assert client.get(answer.json()["url"]).headers["content-type"] == "image/png"


def test_edits_use_items_and_know_their_parent(client):
    source = client.upload("source.png", png()).json()["id"]
    half = Image.new("L", (16, 16))
    half.paste(255, (0, 0, 8, 16))
    half.save(data := io.BytesIO(), "PNG")
    mask = client.upload("mask.png", data.getvalue(), role="mask").json()["id"]
    edits = [
        {"edit": "vary", "strength": 0.3, "count": 2},
        {"edit": "inpaint", "mask": mask, "resample": 1},
        {"edit": "inpaint", "box": [0, 0, 8, 16], "resample": 1},
        {"edit": "morph", "inputs": [source, source], "count": 3},
        {"edit": "recover", "operator": {"use": "downsample", "factor": 2}, "noise": 0.1},
        {"edit": "reprompt", "label": "circle", "strength": 0.5},
    ]
    for edit in edits:
        job = client.done(kind="edit", model="run", seed=1, steps=3, **{"inputs": [source], **edit})
        assert len(job["items"]) == edit.get("count", 1), edit
        assert {item["parent"] for item in job["items"]} == {source} and job["items"][0]["origin"] == "edit"
        assert f"edit {client.studio.models.places['run']} {edit['edit']}" in job["command"]
        assert job["items"][0]["name"] == f"{edit['edit']} of source.png"
        assert not any(str(client.folder) in note for note in job["notes"])
    known = client.get(f"/api/items/{source}/file").content
    assert known == png(), "the source is unchanged"


def test_edits_are_those_of_the_command(client, tmp_path, monkeypatch):
    import shlex

    from sonolux.core.cli.main import main

    source = client.upload("source.png", png()).json()["id"]
    monkeypatch.chdir(tmp_path)
    for edit in ({"edit": "vary", "strength": 0.3}, {"edit": "inpaint", "box": [0, 0, 8, 16], "resample": 1}):
        job = client.done(kind="edit", model="run", inputs=[source], seed=1, steps=3, **edit)
        assert main(shlex.split(job["command"])[1:]) == 0
        results = client.folder / "jobs" / job["id"] / "part-0" / "results"
        names = {path.name: path.read_bytes() for path in results.iterdir()}
        assert names == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        exec(job["python"].replace("'out'", "'by-python'"), {})
        assert names == {path.name: path.read_bytes() for path in (tmp_path / "by-python").iterdir()}
        (tmp_path / "out").rename(tmp_path / edit["edit"])
        (tmp_path / "by-python").rename(tmp_path / f"{edit['edit']}-python")


def test_an_edit_names_items_only(client):
    for wrong in (["/etc/passwd"], ["0" * 16], [], ["../x"]):
        request = {"kind": "edit", "model": "run", "edit": "vary", "inputs": wrong}
        answer = client.post("/api/jobs", json=request)
        assert answer.status_code in (400, 404), answer.text
    source = client.upload("source.png", png()).json()["id"]
    for wrong in ({"mask": "/etc/passwd"}, {"mask": "0" * 16}, {"edit": "morph"}, {"edit": "rm"}):
        answer = client.post(
            "/api/jobs", json={"kind": "edit", "model": "run", "edit": "inpaint", "inputs": [source], **wrong}
        )
        assert answer.status_code in (400, 404), answer.text


def test_the_number_of_items_is_bounded(connect, open_studio, picture_run):
    studio = open_studio(picture_run, items=3)
    assert studio.limits == StudioLimits(items=3)
    with connect(studio) as client:
        client.sampled(count=2)
        assert client.post("/api/jobs", json={"kind": "sample", "model": "run", "count": 2}).status_code == 429
        assert client.upload("a.png", png()).status_code == 201
        answer = client.upload("b.png", png())
        assert answer.status_code == 429 and "remove some first" in answer.json()["error"]


def test_a_changed_record_reads_no_other_file(connect, open_studio, picture_run, tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(png())
    with connect(open_studio(picture_run)) as client:
        ids = [client.upload("a.png", png()).json()["id"] for _ in range(3)]
    folder = tmp_path / "studio"
    for number, place in zip(ids, ("../secret.png", str(secret), f"uploads/{ids[2]}/link.png"), strict=True):
        record = folder / "items" / f"{number}.json"
        record.write_text(json.dumps({**json.loads(record.read_text()), "path": place}))
    (folder / "uploads" / ids[2] / "link.png").symlink_to(secret)
    with connect(open_studio(picture_run)) as client:
        assert [client.get(f"/api/items/{number}/file").status_code for number in ids] == [404] * 3


def test_a_mixture_of_parts_has_cells_and_sides(client):
    job = client.done(
        kind="compare", a={"model": "run", "seed": 3, "count": 2, "steps": 1}, b={"model": "run", "steps": 2}
    )
    assert [item["side"] for item in job["items"]] == ["a", "a", "b", "b"]
    assert {item["seed"] for item in job["items"]} == {3} and job["parts"] == 2
    assert job["command"].count("\n") == 1 and "--out out-a" in job["command"]
    axes = {"guidance.scale": [1, 2], "steps": [1, 2]}
    job = client.done(kind="sweep", base={"model": "run", "seed": 3, "count": 1}, axes=axes)
    assert [item["cell"] for item in job["items"]] == [
        {"guidance.scale": scale, "steps": steps} for scale in (1, 2) for steps in (1, 2)
    ]
    alone = client.sampled(seed=3, count=1, steps=2, guidance=2)["items"][0]
    assert client.get(alone["url"]).content == client.get(job["items"][3]["url"]).content
    many = {"seed": list(range(32)), "steps": [1, 2, 3]}
    answer = client.post("/api/jobs", json={"kind": "sweep", "base": {"model": "run"}, "axes": many})
    assert answer.status_code == 400 and "at most 64 cells, and this one has 96" in answer.json()["error"]
