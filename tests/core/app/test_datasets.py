"""Prepared folders: files with faults and near copies are listed, shown, and captioned."""

import json
import shutil

import pytest
from PIL import Image
from sonolux.core.app.datasets import BACKUP, PreparedFolder
from sonolux.core.cli.main import main
from sonolux.core.config.load import load_recipe_text
from sonolux.core.data.manifest import read_manifest
from sonolux.core.data.tables import read_table
from sonolux.core.util.errors import BadInput


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of pictures with copies and a damaged file, and what `prepare` wrote of it."""
    root, out = tmp_path_factory.mktemp("pictures"), tmp_path_factory.mktemp("prepared") / "out"
    for i in range(12):
        folder = root / ("red" if i % 2 else "blue")
        folder.mkdir(exist_ok=True)
        picture = Image.new("RGB", (24, 24), (250, 10 * i, 5) if i % 2 else (5, 10 * i, 250))
        picture.paste((255, 255, 255), (i, 3, i + 8, 14))
        picture.save(folder / f"{i:02d}.png")
        (folder / f"{i:02d}.txt").write_text(f"a picture, number {i}")
    shutil.copy(root / "red" / "01.png", root / "red" / "copy of 01.png")
    (root / "red" / "damaged.png").write_bytes(b"no picture")
    assert main(["prepare", str(root), "--out", str(out)]) == 0
    return root, out


@pytest.fixture
def prepared(folders, tmp_path):
    """A copy of the prepared folder, which a test may change."""
    return shutil.copytree(folders[1], tmp_path / "pictures")


def test_files_are_listed_with_faults_and_copies(connect, open_studio, picture_run, prepared):
    with connect(open_studio(picture_run, data=[prepared])) as client:
        assert client.get("/api/state").json()["data"] == ["pictures"]
        found = client.get("/api/data/pictures", params={"per_page": 5, "page": 2}).json()
        assert (found["total"], found["pages"], found["page"], len(found["files"])) == (14, 3, 2, 5)
        (fault,) = client.get("/api/data/pictures?only=faults&find=damaged").json()["files"]
        assert fault["name"] == "red/damaged.png" and not fault["usable"] and fault["faults"]
        near = client.get("/api/data/pictures?only=near&find=copy").json()["files"][0]
        assert near["near_copies"][0] == {**near["near_copies"][0], "name": "red/01.png", "similarity": 1.0}
        (one,) = client.get("/api/data/pictures", params={"find": "number 7"}).json()["files"]
        assert (one["caption"], one["label"], one["width"]) == ("a picture, number 7", "red", 24)
        assert client.get(one["url"]).headers["content-type"] == "image/png"
        assert client.get("/api/data/pictures?only=uncaptioned").json()["total"] == 2
        assert client.get("/api/data/pictures?page=99").json()["files"] == []
        for wrong in ("page=0", "per_page=100000", "only=all", "page=x"):
            assert client.get(f"/api/data/pictures?{wrong}").status_code == 400


def test_a_caption_is_changed_in_the_manifest_with_a_backup(connect, open_studio, picture_run, prepared):
    before = (prepared / "manifest.jsonl").read_bytes()
    with connect(open_studio(picture_run, data=[prepared])) as client:
        (one,) = client.get("/api/data/pictures", params={"find": "number 7"}).json()["files"]
        url = f"/api/data/pictures/{one['id']}"
        answer = client.patch(url, json={"caption": "a white box\n  on red \n\na white box"})
        assert answer.json()["caption"] == "a white box\non red"
        assert client.patch(url, json={"caption": "a\0b"}).status_code == 400
        assert client.patch(url, json={"caption": "x" * 2001}).status_code == 400
        assert client.patch("/api/data/pictures/zz", json={"caption": "x"}).status_code == 404
        assert client.patch(url, json={"caption": ""}).json()["caption"] == ""
        client.patch(url, json={"caption": "the last"})
    assert (prepared / BACKUP).read_bytes() == before
    changed = [
        (old, new)
        for old, new in zip(before.splitlines(), (prepared / "manifest.jsonl").read_bytes().splitlines(), strict=True)
        if old != new
    ]
    assert len(changed) == 1 and json.loads(changed[0][1]) == {**json.loads(changed[0][0]), "caption": "the last"}
    assert len(read_manifest(prepared / "manifest.jsonl").usable()) == 13
    table = {row.file: row.caption for row in read_table(prepared / "captions.jsonl")}
    assert table["red/07.png"] == "the last" and len(table) == 13


def test_training_reads_the_changed_caption(prepared):
    folder = PreparedFolder("x", prepared)
    (one,) = folder.page(1, 10, None, "number 7")["files"]
    folder.change_caption(one["id"], "quite new words")
    recipe = load_recipe_text((prepared / "recipe.yaml").read_text(), prepared)
    assert recipe.modality.use == "image"
    captions = [line["caption"] for line in read_manifest(prepared / "manifest.jsonl").usable()]
    assert "quite new words" in captions


def test_a_manifest_of_others_shows_no_other_files(prepared, tmp_path):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (4, 4)).save(secret)
    (tmp_path / "key.txt").write_text("secret")
    lines = (prepared / "manifest.jsonl").read_text().splitlines()
    header, first = json.loads(lines[0]), json.loads(lines[1])
    names = ["../secret.png", str(secret), "../key.txt", "link.png"]
    header["root"] = str(tmp_path / "media")
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "link.png").symlink_to(secret)
    rows = [header, *({**first, "file": name, "hash": f"{n:032x}"} for n, name in enumerate(names))]
    (prepared / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = PreparedFolder("x", prepared)
    files = folder.page(1, 10)["files"]
    assert len(files) == 4
    for file in files:
        with pytest.raises(BadInput, match="there is no such file"):
            folder.file(file["id"])


def test_a_proposed_recipe_of_others_runs_no_code(prepared, tmp_path):
    (prepared / "evil.py").write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\nclass Evil: pass"
    )
    recipe = (prepared / "recipe.yaml").read_text()
    (prepared / "recipe.yaml").write_text(recipe.replace("use: image,", f"use: '{prepared}/evil.py:Evil',", 1))
    assert "evil.py" in (prepared / "recipe.yaml").read_text()
    folder = PreparedFolder("x", prepared)
    assert folder.modality().name == "image" and not (tmp_path / "ran").exists()


def test_a_folder_that_was_not_prepared_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"was not prepared: `sonolux prepare .*` writes the folder"):
        PreparedFolder("x", tmp_path)
