"""Bad command lines of every command: exit code 2, one short line with the remedy, nothing written, no traceback."""

import os
import re
import time
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile
from PIL import Image
from sonolux.core.cli import main as cli
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput

LONGEST = 200  # characters of the message
SECONDS = 5  # of processor time

# The words of a command, and what the message says. RUN is a trained run of pictures; the working folder holds a file
# a.png, a text notes.txt, a folder `stuff` with a text, a folder `pictures`, a recipe broken.yaml, and a table.
CASES = [
    # sonolux
    ("smaple RUN --out o", "no such command 'smaple'; did you mean 'sample'"),
    ("--jsn", "No such option.*--jsn.*see sonolux --help"),
    # train
    ("train", "which recipe\\? `sonolux recipe list`"),
    ("train digts", "there is no recipe 'digts'; did you mean 'image/digits'"),
    ("train notes.txt", "notes.txt:1:1.*a recipe is a mapping that starts with `recipe: 1`"),
    ("train stuff", "stuff is a folder; a recipe is a .yaml file"),
    ("train gone.yaml", "there is no recipe file gone.yaml"),
    ("train shapes train.steps=x", "train.steps=x: expected integer of at least 1, got the text 'x'"),
    ("train shapes train.stpes=3", "unknown key; did you mean 'train.steps'"),
    ("train shapes nmae", "nmae: expected key=value, such as train.batch=64"),
    ("train shapes pictures", "pictures: expected key=value; the folder of the data is data.root=pictures"),
    ("train shapes lr=0.1", "lr=0.1: unknown key; did you mean 'train.optimizer.lr'\\?"),
    ("train shapes half_life=9", "did you mean 'train.ema.half_life'\\?"),
    ("train shapes train.lr=0.1", "did you mean 'train.optimizer.lr'\\?"),
    ("train shapes valid=0.5", "did you mean 'data.split.valid'\\?"),
    ("train shapes s_churn=0.5 sample.use=edm_churn", "did you mean 'sample.s_churn'\\?"),
    ("train shapes sample.use=dimm", "there is no sampler 'dimm'; did you mean 'ddim'"),
    ("train shapes sample.use=xyzzyx", "there is no sampler 'xyzzyx'.*plugins list --kind sampler"),
    ("train shapes name=../x", "cannot name a run folder"),
    ("train shapes train.device=gpu", "expected one of auto, cpu, cuda, mps, got the text 'gpu'"),
    ("train image/folder data.root=gone", "^command line: data.root=gone: no such folder: .*gone$"),
    ("train shapes network.width=-3", "^command line: network.width=-3: width is at least 1"),
    ("train image/folder data.root=a.png", "a.png is a file; name the folder that holds it"),
    ("train image/folder data.root=~no-such-user", "no such home folder"),
    ("train image/folder", "needs data.root: path"),
    ("train shapes data.split.valid=1", "expected number of at least 0 and at most 0.95, got 1"),
    ("train shapes --out a.png", "a.png is a file: name another folder with --out"),
    ("train --resume gone", "gone: --resume takes a run folder"),
    ("train --resume stuff", "no checkpoint"),
    ("train shapes --resume RUN", "--resume RUN goes on in the run's folder with its recipe: leave shapes out"),
    ("train --resume RUN --out o", "leave --out out"),
    ("train --resume RUN --from RUN", "leave --from out"),
    ("train --resume RUN --overwrite", "leave --overwrite out"),
    ("train --resume RUN seed=3", "only train.\\* and paths may change"),
    ("train shapes --from gone", "gone: no such run or checkpoint"),
    ("train shapes --quite", "No such option.*--quite.*did you mean.*--quiet|No such option.*--quiet"),
    ("train shapes --json", "--json needs --dry-run"),
    ("train shapes train.log=tensorbord", "there is no logger 'tensorbord'; did you mean 'tensorboard'"),
    ("train shapes --dry-run --out a.png", "a.png is a file: name another folder with --out"),
    # watch
    ("watch gone", "gone is no run folder"),
    ("watch stuff --json", "stuff is no run folder: it contains no resolved.yaml"),
    # completion
    ("completion", "Missing argument"),
    ("completion tcsh", "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
    # models
    ("models text_shape", "text_shapes"),
    ("models --jsn", "No such option"),
    # studio
    ("studio no-such-model", "no-such-model"),
    ("studio --port 70000", "0<=x<=65535"),
    # plan
    ("plan", "Missing argument"),
    ("plan shapes --memory 0", "0.1<=x<=10000"),
    ("plan shapes train.batch=0", "train.batch"),
    # sample
    ("sample", "Missing argument"),
    ("sample RUN", "Missing option '--out'"),
    ("sample gone --out o", "gone: no such run or checkpoint"),
    ("sample a.png --out o", "a.png: damaged, or not a checkpoint"),
    ("sample RUN label=cirle --out o", "there is no class 'cirle'; did you mean 'circle'"),
    ("sample RUN label=&amp --out o", "there is no class '&amp'"),
    ("sample RUN label=[circle --out o", "not valid YAML"),
    ("sample RUN bogus --out o", "^command line: bogus: expected key=value, such as steps=30"),
    ("sample RUN stepz=3 --out o", "unknown key; did you mean 'sample.steps'"),
    ("sample RUN steps=0 --out o", "expected integer of at least 1 and at most 10000, got 0"),
    ("sample RUN steps=100000000000 --out o", "at most 10000, got 100000000000"),
    (
        "sample RUN size=[1000000,1000000] count=1 --out o",
        "1 sample of 1000000 x 1000000.*1.08e\\+05 GB.*this machine has",
    ),
    ("sample RUN size=2000000 --out o", "at most 1000000"),
    ("sample RUN sampler=heun --out o", "unknown key: the sampler is `use`: use=heun"),
    ("sample RUN train.steps=3 --out o", "only sample.\\* can change here"),
    ("sample RUN seconds=2 --out o", "height and width only: leave it out"),
    ("sample RUN size=[3] --out o", "sample.size is a number of elements, or \\[height, width\\]"),
    ("sample RUN count=2 label=[circle,square,star] --out o", "set count=3"),
    ("sample RUN --out stuff", "holds no samples: name an empty folder"),
    ("sample RUN --out a.png", "a.png is a file"),
    ("sample RUN --out=~no-such-user/o", "~no-such-user/o: no such home folder"),
    # edit
    ("edit RUN melt a.png --out o", "'melt' is not one of 'vary'"),
    ("edit RUN vary --out o", "Missing argument"),
    ("edit RUN vary gone.png --out o", "gone.png: no such file"),
    ("edit RUN vary notes.txt --out o", "notes.txt: not a picture"),
    ("edit RUN vary tone.wav --out o", r"tone.wav: a sound \(WAV\), where a picture is needed"),
    ("edit RUN vary strength=0.5 --out o", "vary: name a file"),
    ("edit RUN vary a.png strength=2 --out o", "at most 1, got 2"),
    ("edit RUN inpaint a.png --out o", "name the part to regenerate: box="),
    ("edit RUN inpaint a.png box=0,14,28,28 --out o", "got the text '0,14,28,28'; write box='\\[0,14,28,28\\]'$"),
    ("edit RUN inpaint a.png box=[0,0,99,4] --out o", "is no part of a.png, 16 x 16"),
    ("edit RUN inpaint a.png box=[0,0,4,4] mask=a.png --out o", "box and mask exclude each other: give one"),
    (
        "edit RUN inpaint a.png from=0 to=1 --out o",
        "from and to are seconds along time, and image has height and width",
    ),
    ("edit RUN vary a.png size=[25,31] --out o", "size has no effect on an edit of files"),
    ("edit RUN vary a.png sample.count=4 --out o", "sample.count has no effect on an edit: give count=N"),
    ("edit RUN vary a.png calibrated=true --out o", "calibrated=true has no effect on an edit"),
    ("edit RUN vary a.png label=[circle,square] --out o", "lists 2 values"),
    ("edit RUN morph circle square label=star --out o", "label has no effect on a morph of classes"),
    ("edit RUN continue a.png --out o", "no time axis"),
    ("edit RUN morph a.png --out o", "name two files, not 1"),
    # eval
    ("eval", "Missing argument"),
    ("eval gone --out o", "gone: no such run or checkpoint"),
    ("eval RUN cuont=3 --out o", "unknown key; did you mean 'eval.count'"),
    ("eval RUN count=x --out o", "expected integer of at least 8 and at most 100000, got"),
    ("eval RUN network.width=3 --out o", "the rest is the run's"),
    ("eval RUN data.split.valid=0.5 --out o", "another would hold out what was trained on"),
    ("eval RUN count=20 --folder gone --out o", "--folder: no such folder: gone"),
    # ablate
    ("ablate shapes --seeds 2 --steps 3 --out o", "Missing option '--vary'"),
    ("ablate shapes --vary train.batch=2,3 --steps 3 --out o", "Missing option '--seeds'"),
    ("ablate shapes --vary train.batch=2,3 --seeds 0 --steps 3 --out o", "0 is not in the range 1<=x<=1000"),
    ("ablate shapes --vary train.batch=2,3 --seeds 2 --out o", "give --steps N or --minutes M"),
    ("ablate shapes --vary train.batch=2,3 --seeds 2 --steps 3 --minutes 1 --out o", "give --steps N or --minutes M"),
    (
        "ablate shapes --vary train.batch=2,3 --seeds 2 --steps 0 --out o",
        "train.steps=0: expected integer of at least 1",
    ),
    (
        "ablate shapes --vary train.batch=2,3 --seeds 2 --minutes nan --out o",
        "train.minutes=nan: expected number above 0",
    ),
    (
        "ablate shapes --vary train.batch=2,x --seeds 2 --steps 3 --out o",
        "^command line: train.batch=x: expected integer",
    ),
    ("ablate shapes --vary train.btch=2,3 --seeds 2 --steps 3 --out o", "unknown key; did you mean 'train.batch'"),
    ("ablate shapes --vary train.batch --seeds 2 --steps 3 --out o", "expected key=value,value"),
    ("ablate shapes --vary train.batch=2 --seeds 2 --steps 3 --out o", "two or more values"),
    ("ablate shapes --vary train.batch=2,2 --seeds 2 --steps 3 --out o", "a value is given twice"),
    ("ablate shapes --vary seed=1,2 --seeds 2 --steps 3 --out o", "--seeds varies it"),
    ("ablate shapes --vary train.batch=2,3 seed=1 --seeds 2 --steps 3 --out o", "seed=1: --seeds varies it"),
    ("ablate shapes --vary train.batch=2,3 train.batch=4 --seeds 2 --steps 3 --out o", "--vary train.batch varies it"),
    ("ablate shapes --vary train.batch=2,3 --vary train.batch=4,5 --seeds 2 --steps 3 --out o", "is given twice"),
    ("ablate shapes --vary modality.size=16,32 --seeds 2 --steps 3 --out o", "another modality have errors in other"),
    ("ablate shapes --vary data.split.valid=0.1,0.2 --seeds 2 --steps 3 --out o", "another data.split have errors"),
    (
        "ablate shapes --vary data.count=64,80 --seeds 2 --steps 3 --out o",
        "^arm data.count=80: its held-out examples are",
    ),
    ("ablate shapes data.split.valid=0 --vary train.batch=2,3 --seeds 2 --steps 3 --out o", "valid split is empty"),
    ("ablate shapes --vary train.batch=2,3 --seeds 2 --steps 3 --out stuff", "stuff exists and is not empty"),
    # calibrate
    ("calibrate gone", "gone: no such run or checkpoint"),
    ("calibrate RUN --nfe 1", "--nfe takes numbers of 2 or more"),
    ("calibrate RUN --nfe x", "--nfe takes numbers of evaluations such as 5,8,10"),
    ("calibrate RUN --count 0", "0 is not in the range 1<=x<=100000"),
    ("calibrate RUN --count 100000000000", "is not in the range 1<=x<=100000"),
    ("calibrate RUN --seed x", "'x' is not a valid integer"),
    # prepare
    ("prepare", "Missing argument 'FOLDER'"),
    ("prepare gone", "no such folder: gone"),
    ("prepare stuff", "no .* in stuff: it holds 1 file with .txt"),
    ("prepare a.png", "a.png is a file"),
    ("prepare pictures --modality audoi", "did you mean 'audio'"),
    ("prepare pictures --table gone.csv", "no such file: gone.csv"),
    ("prepare pictures --table table.csv", "table.csv:2: fewer fields"),
    ("prepare pictures --out pictures/o", "is inside the folder that is read"),
    # init
    ("init x", "Missing option '--from'"),
    ("init x --from digts", "did you mean 'image/digits'"),
    ("init broken --from digits", "broken.yaml exists: choose another name"),
    ("init / --from digits", "not a valid name for a recipe"),
    # recipe
    ("recipe lst", "No such command 'lst'"),
    ("recipe list x", "unexpected extra argument"),
    ("recipe show", "Missing argument"),
    ("recipe show digts", "there is no recipe 'digts'"),
    ("recipe show digits train.steps=x", "expected integer"),
    ("recipe validate", "Missing argument"),
    ("recipe validate train.steps=3", "which recipe\\?"),
    ("recipe validate broken.yaml", "broken.yaml:2:1: nmae: unknown key; did you mean 'name'"),
    ("recipe schema -o stuff", "is a directory"),
    ("recipe schema --jsn", "No such option"),
    # plugins
    ("plugins list --kind samplr", "'samplr' is not a kind of component; did you mean 'sampler'"),
    ("plugins show", "Missing argument"),
    ("plugins show hein", "there is no component 'hein'; did you mean 'heun'"),
    ("plugins show heun --kind network", "there is no network 'heun'"),
    # lab
    ("lab sampler hein", "there is no sampler 'hein'; did you mean 'heun'"),
    ("lab sampler heun --nfe x", "'x' is not a list of whole numbers"),
    ("lab sampler heun --problem nothing", "there is no problem 'nothing'"),
    ("lab sampler heun --against ddpm", "ddpm is stochastic"),
    ("lab sampler {use:heun", "not valid YAML|there is no sampler"),
    ("lab likelihood gone", "gone: no such run or checkpoint"),
    ("lab likelihood RUN --split test", "'test' is not one of 'valid', 'train'"),
    ("lab likelihood RUN --count 0", "range 1<=x<=100000"),
    # doctor
    ("doctor --jsn", "No such option"),
    ("doctor x", "unexpected extra argument"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The working folder of all cases."""
    root = tmp_path_factory.mktemp("place")
    Image.new("RGB", (16, 16), "grey").save(root / "a.png")
    (root / "notes.txt").write_text("some notes\n")
    soundfile.write(root / "tone.wav", np.zeros(100), 8000)
    for name in ("stuff", "pictures"):
        (root / name).mkdir()
    (root / "stuff" / "b.txt").write_text("x")
    Image.new("RGB", (16, 16), "grey").save(root / "pictures" / "c.png")
    (root / "broken.yaml").write_text("extends: image/shapes\nnmae: x\n")
    (root / "table.csv").write_text("file,label\na.png\n")
    return root


def contents(folder):
    return sorted((str(p), p.is_file() and (p.stat().st_mtime_ns, p.stat().st_size)) for p in folder.rglob("*"))


def check_bad(words, said, place, capsys):
    """The command refuses: exit code, message, remedy, and nothing changed in the working folder."""
    before, start = contents(place), time.process_time()
    try:
        code = cli.main(words)
    except SystemExit as stop:
        code = stop.code
    spent, told = time.process_time() - start, capsys.readouterr()
    lines = [line for line in told.err.splitlines() if not line.startswith(("note: ", "    "))]
    assert code == 2, (code, told)
    assert "Traceback" not in told.err and told.out == "", told
    assert len(lines) == 1 and re.search(said, lines[0]), told.err
    assert len(lines[0]) <= LONGEST, (len(lines[0]), lines[0])
    assert contents(place) == before
    assert spent < SECONDS, spent


LONG = "x" * 300
PATHS = [  # WRONG is a path that contains NUL, or a name that is too long
    "train shapes --out WRONG",
    "ablate shapes --vary train.batch=2,3 --seeds 1 --steps 1 --out WRONG",
    "train --resume WRONG",
    "train shapes --from WRONG",
    "sample WRONG --out o",
    "sample RUN --out WRONG",
    "edit RUN vary a.png --out WRONG",
    "edit RUN vary WRONG --out o",
    "eval RUN --out WRONG",
    "eval RUN --folder WRONG --out o",
    "calibrate WRONG",
    "prepare WRONG",
    "prepare pictures --out WRONG",
    "prepare pictures --table WRONG",
    "init WRONG --from digits",
    "init x --from WRONG",
    "recipe show WRONG",
    "recipe schema --out WRONG",
    "lab likelihood WRONG",
    "lab sampler euler --plot WRONG",
]


@pytest.mark.slow
@pytest.mark.parametrize("line", PATHS)
def test_a_path_that_cannot_be_one_is_refused(line, place, tiny_run, monkeypatch, capsys):
    monkeypatch.chdir(place)
    run = os.path.relpath(tiny_run("image"), place)
    for wrong, said in (
        ("a\0b", "no path can contain"),
        (LONG, r"x+\.\.\.: too long for the name of a file or folder"),
    ):
        check_bad([{"RUN": run, "WRONG": wrong}.get(word, word) for word in line.split(" ")], said, place, capsys)


@pytest.mark.slow
def test_nothing_is_noted_before_a_refusal(place, tiny_run, monkeypatch, capsys):
    monkeypatch.chdir(place)
    Image.new("RGB", (48, 48), "grey").save("large.png")
    for part in ("box=[0,0,4,99]", "box=[0,0,4,4] mask=a.png", "from=0 to=1"):
        assert cli.main(["edit", str(tiny_run("image")), "inpaint", "large.png", *part.split(), "--out", "o"]) == 2
        assert "note: " not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("line", "said"), CASES, ids=[line for line, _ in CASES])
def test_a_bad_command_line_is_one_line_with_the_remedy(line, said, place, tiny_run, monkeypatch, capsys):
    monkeypatch.chdir(place)
    run = os.path.relpath(tiny_run("image"), place)
    check_bad([run if word == "RUN" else word for word in line.split(" ")], said, place, capsys)


def test_planted_faults_are_caught(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    words, said = ["prepare", "gone"], "no such folder: gone"
    check_bad(words, said, place, capsys)

    def planted(command):
        monkeypatch.setattr(cli.Commands, "get_command", lambda self, ctx, name: click.Command(name, callback=command))
        assert_caught(check_bad, ["prepare"], "x", place, capsys)

    def raising(error):
        raise error

    planted(lambda: raising(ValueError("x")))
    planted(lambda: raising(BadInput("x", "x")))
    planted(lambda: raising(BadInput("x" * 201)))
    planted(lambda: (Path("x").write_text(""), raising(BadInput("x"))))
    Path("x").unlink()
    planted(lambda: (print("x"), raising(BadInput("x"))))


def leaves(command, path=()):
    """The words of every command without subcommands."""
    context = click.Context(command)
    if not isinstance(command, click.Group):
        return [path]
    return [
        leaf for n in command.list_commands(context) for leaf in leaves(command.get_command(context, n), (*path, n))
    ]


def test_every_command_has_cases():
    """A new file in the folder of commands, or a new subcommand, needs at least two bad command lines here."""
    words = [tuple(line.split(" ")) for line, _ in CASES]
    few = [" ".join(leaf) for leaf in leaves(cli.cli) if sum(case[: len(leaf)] == leaf for case in words) < 1]
    assert few == [] and len(CASES) >= 60
    for name in cli.cli.files():
        assert sum(case[0] == name for case in words) >= 2, name
