"""The comparison of learned codecs with others: both ways are trained in turns, and measured."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import latents


@pytest.mark.slow
@pytest.mark.parametrize("name", latents.PAIRS)
def test_the_command(name, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)
    assert latents.main(["--smoke", "--only", name, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for way in latents.PAIRS[name].ways:
        assert re.search(rf"{way}: [1-9]\d* steps in \d+ s, diffuses \(\d+, ", printed)
        assert (tmp_path / f"{way.replace('/', '-')}.safetensors").is_file()
    shares = re.findall(r"real examples  +([\d.]+)%", printed)
    assert len(shares) == 2 and shares[0] == shares[1] and float(shares[0]) >= 50, "the checker knows real examples"


def test_a_time_that_the_codec_takes_alone_is_refused(tmp_path, capsys):
    pair = latents.PAIRS["image"]
    changes = [*pair.smoke, *latents.TINY_CODEC]
    way = {"image/autoencoder": changes}
    with pytest.raises(latents.BadInput, match="give more --minutes"):
        latents.begin(latents.Pair(pair.recipe, way, [], pair.recognise), "image/autoencoder", tmp_path, 1e-6, False)
