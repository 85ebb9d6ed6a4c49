"""Sizes that a header does not know, ends that are missing, chains: all samples that a file holds are read."""

import io as bytesio
import os
import struct
import warnings
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import MediaSpec
from sonolux.modalities.audio import io, io_bytes, io_containers, io_decode, io_mp3, io_ogg
from sonolux.modalities.audio.datasets.folder import Folder
from sonolux.modalities.audio.modality import Audio
from sonolux.modalities.audio.prepare.prepare import SoundFolderAnalyzer

RATE, COUNT = 8000, 1000
STEPS = np.random.default_rng(0).integers(-30000, 30000, COUNT).astype(np.int16)


def chunk(name: bytes, body: bytes, order: str = "<", size: int | None = None) -> bytes:
    return name + struct.pack(f"{order}I", len(body) if size is None else size) + body + b"\0" * (len(body) % 2)


def wav(order: str = "<", size: int | None = None, after: bytes = b"", steps: np.ndarray = STEPS) -> bytes:
    """A WAV file of 16 bits, byte by byte; `size`: what its data chunk states."""
    form = struct.pack(f"{order}HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    body = b"WAVE" + chunk(b"fmt ", form, order) + chunk(b"data", steps.astype(f"{order}i2").tobytes(), order, size)
    return chunk(b"RIFF" if order == "<" else b"RIFX", body + after, order)


def aiff(size: int | None = None) -> bytes:
    comm = struct.pack(">hIh", 1, COUNT, 16) + bytes.fromhex("400bfa00000000000000")  # 8000 as an 80-bit float
    sound = struct.pack(">II", 0, 0) + STEPS.astype(">i2").tobytes()
    return chunk(b"FORM", b"AIFF" + chunk(b"COMM", comm, ">") + chunk(b"SSND", sound, ">", size), ">")


def svx() -> bytes:
    head = struct.pack(">IIIHBBI", COUNT, 0, 0, RATE, 1, 0, 65536)
    steps = (STEPS >> 8).astype(np.int8).tobytes()
    return chunk(b"FORM", b"8SVX" + chunk(b"VHDR", head, ">") + chunk(b"BODY", steps, ">"), ">")


def au(size: int = 2 * COUNT, order: str = ">") -> bytes:
    head = struct.pack(f"{order}IIIII", 28, size, 3, RATE, 1) + bytes(4)
    return (b".snd" if order == ">" else b"dns.") + head + STEPS.astype(f"{order}i2").tobytes()


def rf64(size: int = 2 * COUNT) -> bytes:
    form = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    sizes = chunk(b"ds64", struct.pack("<QQQI", 0, size, COUNT, 0))
    body = b"WAVE" + sizes + chunk(b"fmt ", form) + chunk(b"data", STEPS.tobytes(), "<", 0xFFFFFFFF)
    return chunk(b"RF64", body, "<", 0xFFFFFFFF)


GUID = bytes.fromhex("f3acd3118cd100c04f8edb8a")


def w64(size: int | None = None) -> bytes:
    form = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    body = b"wave" + GUID + b"fmt " + GUID + struct.pack("<Q", 24 + 16) + form
    body += b"data" + GUID + struct.pack("<Q", 24 + 2 * COUNT if size is None else size) + STEPS.tobytes()
    return bytes.fromhex("726966662e91cf11a5d628db04c10000") + struct.pack("<Q", 24 + len(body)) + body


def caf(size: int = 2 * COUNT + 4) -> bytes:
    desc = struct.pack(">d4sIIIII", RATE, b"lpcm", 0, 2, 1, 1, 16)
    body = struct.pack(">4sQ", b"desc", 32) + desc + struct.pack(">4sQI", b"data", size, 0)
    return b"caff\0\1\0\0" + body + STEPS.astype(">i2").tobytes()


def voc() -> bytes:
    head = b"Creative Voice File\x1a" + struct.pack("<HHH", 26, 0x0114, 0x1F11)
    block = struct.pack("<IBBHI", RATE, 16, 1, 4, 0) + STEPS.tobytes()
    return head + b"\x09" + len(block).to_bytes(3, "little") + block


def nist() -> bytes:
    fields = f"sample_count -i {COUNT}\nsample_n_bytes -i 2\nchannel_count -i 1\nsample_byte_format -s2 01\n"
    fields += f"sample_rate -i {RATE}\nsample_coding -s3 pcm\nend_head\n"
    return f"NIST_1A\n   1024\n{fields}".encode().ljust(1024, b" ") + STEPS.tobytes()


WHOLE = STEPS / 32768
EIGHT = (STEPS >> 8) / 128
CONTAINERS = {
    "wav": wav(), "rifx": wav(">"), "aiff": aiff(), "8svx": svx(), "au": au(), "dns": au(order="<"), "rf64": rf64(),
    "w64": w64(), "caf": caf(), "voc": voc(), "nist": nist(),
}  # fmt: skip
# Files whose header does not know the size of the sound.
UNSIZED = {
    **{f"wav {size:#x}": wav(size=size) for size in (0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFDB, 0xFFFFFFFF)},
    "wav of a recorder without power": b"RIFF\0\0\0\0" + wav(size=0)[8:],
    **{f"rifx {size:#x}": wav(">", size) for size in (0, 0x7FFFF000)},
    **{f"aiff {size:#x}": aiff(size) for size in (0, 8, 0x7FFFF000, 0xFFFFFFFF)},
    **{f"au {size:#x}": au(size) for size in (0, 0xFFFFFFFF)},
    **{f"rf64 {size:#x}": rf64(size) for size in (0, 1 << 63, (1 << 64) - 1)},
    **{f"w64 {size:#x}": w64(size) for size in (0, 24, (1 << 64) - 1)},
    **{f"caf {size:#x}": caf(size) for size in (0, 4, (1 << 64) - 1)},
}


def saved(folder: Path, data: bytes) -> Path:
    path = folder / "x.bin"
    path.write_bytes(data)
    return path


def samples(path: Path) -> np.ndarray:
    return io.read_sound(path).wave[0].numpy()


def check_unsized(folder: Path) -> None:
    for name, data in UNSIZED.items():
        sound = io.read_sound(saved(folder, data))
        assert np.array_equal(sound.wave[0].numpy(), WHOLE.astype(np.float32)) and sound.remarks == [], name


def test_a_size_that_the_header_does_not_know_is_that_of_the_file(tmp_path):
    check_unsized(tmp_path)


def test_an_empty_sound_stays_empty(tmp_path):
    none = STEPS[:0]
    for data in (
        wav(steps=none),
        wav(steps=none, after=chunk(b"LIST", b"INFO")),
        b"RIFF\0\0\0\0" + wav(steps=none)[8:],
    ):
        with pytest.raises(io.UnreadableSound, match="holds no frames"):
            io.read_sound(saved(tmp_path, data))


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_sample_before_a_missing_end_is_read(tmp_path, name):
    whole, each = (EIGHT, 1) if name == "8svx" else (WHOLE, 2)
    assert np.array_equal(samples(saved(tmp_path, CONTAINERS[name])), whole.astype(np.float32))
    for cut in (1, 2, 7, 36, COUNT * each // 4):
        sound = io.read_sound(saved(tmp_path, CONTAINERS[name][:-cut]))
        there = COUNT * each - cut
        frames = there // each
        if name == "voc":  # libsndfile takes its last byte for the mark of the end
            frames = sound.wave.shape[1]
            assert there // each - 1 <= frames <= there // each
        assert np.array_equal(sound.wave[0].numpy(), whole[:frames].astype(np.float32)), cut
        assert sound.remarks == [f"truncated: {there} of {COUNT * each} bytes are there"]
    said = (
        rf"is truncated: {COUNT * each * 3 // 4 - 1} of {COUNT * each} bytes are there, less than 75 %: get the whole"
    )
    with pytest.raises(io.UnreadableSound, match=said):
        io.read_sound(saved(tmp_path, CONTAINERS[name][: -COUNT * each // 4 - 1]))


@pytest.mark.parametrize("cut", [4, 8, 12])
def test_an_offset_beyond_the_end_of_a_cut_file_is_refused(tmp_path, cut):
    """SSND states an offset to its first sample, which may be missing too; its own size is not known."""
    whole = aiff(0xFFFFFFFF)
    start = whole.index(b"SSND") + 8
    with pytest.raises(io.UnreadableSound, match=r"holds no frames|is not a sound|cannot"):
        io.read_sound(saved(tmp_path, whole[: start + 12 - cut]))


def test_chunks_after_the_sound_may_be_cut(tmp_path):
    sound = io.read_sound(saved(tmp_path, wav(after=chunk(b"LIST", b"INFO" + bytes(100)))[:-50]))
    assert np.array_equal(sound.wave[0].numpy(), WHOLE.astype(np.float32)) and sound.remarks == []


# --- what follows a sound of unknown size -----------------------------------------------------------------------------

INFO = chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"recorder 1") + chunk(b"ICMT", b"an odd comment"))
FOLLOWED = {
    **{f"wav {size:#x}": (lambda more, size=size: wav(size=size) + more) for size in (0, 0x7FFFF000, 0xFFFFFFFF)},
    **{f"rf64 {size:#x}": (lambda more, size=size: rf64(size) + more) for size in (0, (1 << 64) - 1)},
}
AFTER = {
    "LIST": INFO,
    "id3 and LIST": chunk(b"id3 ", b"ID3" + bytes(range(200))) + INFO,
    "an odd length without its last byte": chunk(b"bext", b"x" * 31)[:-1],
    "a large one": chunk(b"id3 ", np.random.default_rng(1).bytes(300_000)),
}


def check_followed(folder: Path) -> None:
    for name, make in FOLLOWED.items():
        for what, more in AFTER.items():
            np.testing.assert_array_equal(samples(saved(folder, make(more))), WHOLE, err_msg=f"{name}, {what}")
    more = chunk(b"ANNO", b"a note", ">") + chunk(b"NAME", b"x" * 9, ">")
    for size in (None, 0, 8, 0xFFFFFFFF):
        np.testing.assert_array_equal(samples(saved(folder, aiff(size) + more)), WHOLE)
    level = b"levl" + GUID + struct.pack("<Q", 24 + 16) + bytes(range(16))
    for size in (None, 0, 24, (1 << 64) - 1):  # None: the true size
        np.testing.assert_array_equal(samples(saved(folder, w64(size) + level)), WHOLE)
    note = struct.pack(">4sQ", b"info", 11) + b"\0\0\0\1artist\0"
    for size in (2 * COUNT + 4, 0, (1 << 64) - 1):
        np.testing.assert_array_equal(samples(saved(folder, caf(size) + note)), WHOLE)
    no_chunk = struct.pack("<4sI", b"LIST", 9) + b"INFOx"  # its length is not the rest: bytes of the sound
    assert len(samples(saved(folder, wav(size=0) + no_chunk))) == COUNT + len(no_chunk) // 2


def test_chunks_after_a_sound_of_unknown_size_are_no_sound(tmp_path):
    check_followed(tmp_path)


def test_planted_sound_up_to_the_end_of_the_file_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(io_containers, "_end_of_sound", lambda file, start, size, form: size)
    assert_caught(check_followed, tmp_path)


def check_second_data(folder: Path) -> None:
    sound = io.read_sound(saved(folder, wav(after=chunk(b"data", b"\1\2\3\4") + INFO)))
    np.testing.assert_array_equal(sound.wave.numpy()[0], WHOLE)
    assert sound.remarks == ["damaged: holds 2 data chunks, of which the first is read"]
    assert io.read_sound(saved(folder, wav(after=INFO))).remarks == []


def test_of_several_data_chunks_the_first_is_read_with_a_remark(tmp_path):
    check_second_data(tmp_path)


def test_planted_blindness_for_other_data_chunks_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(
        io_containers, "_without_second_sound", lambda file, size, found, n: io_bytes.SoundStream(file, n, n)
    )
    assert_caught(check_second_data, tmp_path, also=(io.UnreadableSound,))


@pytest.mark.parametrize("rate", [0, 1, 999, 1_000_001, 4_000_000_000])
def test_an_impossible_rate_is_named(tmp_path, rate):
    for data in (wav(), wav(">"), rf64()):
        order = ">" if data[:4] == b"RIFX" else "<"
        place = data.index(b"fmt ") + 12
        data = data[:place] + struct.pack(f"{order}I", rate) + data[place + 4 :]
        with pytest.raises(io.UnreadableSound, match=f"has a rate of {rate} Hz: rates from 1000 to 1000000 Hz"):
            io.read_sound(saved(tmp_path, data))
    for order in "><":
        data = au(order=order)
        data = data[:16] + struct.pack(f"{order}I", rate) + data[20:]
        with pytest.raises(io.UnreadableSound, match=f"has a rate of {rate} Hz: rates from 1000 to 1000000 Hz"):
            io.read_sound(saved(tmp_path, data))


def test_planted_trust_in_the_header_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(io_decode, "container_stream", lambda file, size: None)
    with pytest.raises((AssertionError, io.UnreadableSound)):
        check_unsized(tmp_path)


# --- FLAC ---


def encoded(kind: str, subtype: str | None = None, seconds: float = 2.0, rate: int = RATE, channels: int = 1) -> bytes:
    """A tone in noise, whose samples are all different."""
    t = np.arange(round(seconds * rate)) / rate
    noise = 0.1 * np.random.default_rng(1).normal(size=(len(t), channels)).clip(-3, 3)
    file = bytesio.BytesIO()
    soundfile.write(file, 0.4 * np.sin(2 * np.pi * 440 * t)[:, None] + noise, rate, format=kind, subtype=subtype)
    return file.getvalue()


def with_total(flac: bytes, total: int) -> bytes:
    """A FLAC file whose header states `total` frames (36 bits; 0: not known)."""
    field = int.from_bytes(flac[18:26], "big") >> 36 << 36 | total
    return flac[:18] + field.to_bytes(8, "big") + flac[26:]


def test_flac_of_an_unknown_or_wrong_length(tmp_path):
    flac = encoded("FLAC", seconds=2.5)
    whole = samples(saved(tmp_path, flac))
    assert len(whole) == 20000
    for total, remarks in ((0, []), (20001, ["truncated: 20000 of 20001 frames are there"])):
        sound = io.read_sound(saved(tmp_path, with_total(flac, total)))
        assert np.array_equal(sound.wave[0].numpy(), whole) and sound.remarks == remarks
    cut = io.read_sound(saved(tmp_path, flac[:-1]))  # its last block of 4096 frames is lost
    assert np.array_equal(cut.wave[0].numpy(), whole[:16384])
    assert cut.remarks == ["truncated: 16384 of 20000 frames are there"]
    unknown = io.read_sound(saved(tmp_path, with_total(flac, 0)[:-1]))
    assert np.array_equal(unknown.wave[0].numpy(), whole[:16384])
    assert unknown.remarks == ["damaged: only the first 16384 frames can be decoded: Error : flac decoder lost sync"]
    damaged = bytearray(flac)
    damaged[len(flac) // 2] ^= 255
    with pytest.raises(io.UnreadableSound, match=r"is truncated: (8192|12288) of 20000 frames"):
        io.read_sound(saved(tmp_path, bytes(damaged)))


# --- Ogg ---

OGG = ["VORBIS", "OPUS"]


def check_chain(folder: Path, subtype: str) -> None:
    parts = [encoded("OGG", subtype, seconds) for seconds in (1.5, 0.3, 1.0)]
    alone = [samples(saved(folder, part)) for part in parts]
    sound = io.read_sound(saved(folder, b"".join(parts)))
    assert sound.source["frames"] == 22400 and sound.remarks == []
    assert np.array_equal(sound.wave[0].numpy(), np.concatenate(alone))


@pytest.mark.parametrize("subtype", OGG)
def test_all_streams_of_a_chain_are_read(tmp_path, subtype):
    check_chain(tmp_path, subtype)


def test_planted_end_after_the_first_stream_is_caught(tmp_path, monkeypatch):
    original = io_ogg.ogg_streams
    monkeypatch.setattr(io_decode, "ogg_streams", lambda file, size: (original(file, size) or [])[:1])
    assert_caught(check_chain, tmp_path, "VORBIS")


def test_streams_of_another_kind_are_converted_and_damaged_ones_left_out(tmp_path):
    first, second = encoded("OGG", "VORBIS", 2.0), encoded("OGG", "VORBIS", 1.0, 16000, 2)
    sound = io.read_sound(saved(tmp_path, first + second))
    assert sound.wave.shape == (1, 24000) and sound.source["rate"] == RATE
    assert np.array_equal(sound.wave[0, :16000].numpy(), samples(saved(tmp_path, first)))
    alone = io.dsp.resample(io.read_sound(saved(tmp_path, second)).wave, 16000, RATE).mean(0)
    assert torch.allclose(sound.wave[0, 16000:], alone, atol=1e-6)
    assert [remark.split(":")[0] for remark in sound.remarks] == ["chained", "chained"]
    cut = io.read_sound(saved(tmp_path, first + second[:100]))
    assert cut.wave.shape == (1, 16000) and cut.remarks[0].startswith("damaged: stream 2 of 2 is left out")
    broken = bytearray(second)
    broken[28:34] = b"nothing"[:6]
    with pytest.raises(io.UnreadableSound, match=r"is damaged: stream 2 of 2: cannot be decoded"):
        io.read_sound(saved(tmp_path, first + bytes(broken)))
    with pytest.raises(io.UnreadableSound, match=r"is a chain of 1001 streams, more than 1000: cut it into parts"):
        io.read_sound(saved(tmp_path, (b"OggS\0\2" + bytes(20) + b"\0OggS\0\0" + bytes(20) + b"\0") * 1001))


def check_cut_pages(folder: Path, subtype: str) -> None:
    """What the packets of a cut page hold is read; a page that is not there leaves an unknown part."""
    ogg = encoded("OGG", subtype, 3.0)
    whole = samples(saved(folder, ogg))
    for cut in (1, 36):
        sound = io.read_sound(saved(folder, ogg[:-cut]))
        frames = sound.wave.shape[1]
        assert 0.98 * len(whole) < frames < len(whole)
        assert np.abs(sound.wave[0, : frames - 200].numpy() - whole[: frames - 200]).max() < 1e-4
        assert sound.remarks == [f"truncated: {frames} of {len(whole)} frames are there"]
    pages = [i for i in range(len(ogg)) if ogg[i : i + 4] == b"OggS"]
    sound = io.read_sound(saved(folder, ogg[: pages[-1]]))
    assert 0.5 * len(whole) < sound.wave.shape[1] < len(whole)
    assert sound.remarks == ["truncated: its end is missing, and how much is not known"]


def check_strange_bytes(folder: Path, subtype: str) -> None:
    ogg = encoded("OGG", subtype)
    for strange, said in ((b"x" * 300, 300), (b"OggS", 4), (b"", 0)):
        sound = io.read_sound(saved(folder, ogg + strange))
        np.testing.assert_array_equal(sound.wave, io.read_sound(saved(folder, ogg)).wave)
        remark = f"damaged: {said} bytes between or after its pages are not Ogg and are left out"
        assert sound.remarks == ([remark] if said else [])
    with pytest.raises(io.UnreadableSound, match="cannot be decoded"):  # no page at all
        io.read_sound(saved(folder, ogg[:4]))


@pytest.mark.parametrize("subtype", OGG)
def test_bytes_after_the_last_page_are_said(tmp_path, subtype):
    check_strange_bytes(tmp_path, subtype)


@pytest.mark.parametrize("subtype", OGG)
def test_cut_pages(tmp_path, subtype):
    check_cut_pages(tmp_path, subtype)
    short = encoded("OGG", subtype, 0.5)  # one page holds all of it
    sound = io.read_sound(saved(tmp_path, short[:-20]))
    assert 3700 < sound.wave.shape[1] < 4000
    assert sound.remarks == ["truncated: its end is missing, and how much is not known"]


def test_planted_loss_of_a_cut_page_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(io_ogg, "_complete", lambda page: 0)
    assert_caught(check_cut_pages, tmp_path, "VORBIS")


def test_the_checksum_of_pages_is_that_of_the_encoder(tmp_path):
    ogg = encoded("OGG", "VORBIS", 0.5)
    pages = list(io_ogg._pages(bytesio.BytesIO(ogg), len(ogg)))
    assert len(pages) >= 3 and all(page.whole for page in pages)
    for page in pages:
        data = bytearray(ogg[page.start : page.stop])
        stored, data[22:26] = bytes(data[22:26]), bytes(4)
        assert io_ogg._checksum(bytes(data)).to_bytes(4, "little") == stored


# --- MP3 ---


def without_header(mp3: bytes) -> bytes:
    """The file without the frame that states its length."""
    first = next(io_mp3._frames(bytesio.BytesIO(mp3), len(mp3), 0))
    assert b"Xing" in mp3[: first.size] or b"Info" in mp3[: first.size]
    return mp3[first.size :]


def check_variable_rate(folder: Path) -> None:
    """Silence, then noise: the bit rate of the first frame says nothing of the length."""
    rng = np.random.default_rng(0)
    wave = np.concatenate([np.zeros(22050), rng.normal(size=2 * 44100).clip(-3, 3) * 0.2])
    file = bytesio.BytesIO()
    soundfile.write(file, wave, 44100, format="MP3", bitrate_mode="VARIABLE")
    mp3 = file.getvalue()
    whole, bare = samples(saved(folder, mp3)), samples(saved(folder, without_header(mp3)))
    assert len(whole) == len(wave) and len(whole) < len(bare) < len(whole) + 4000
    shift = int(np.argmax([np.dot(whole[30000:40000], bare[30000 + k : 40000 + k]) for k in range(3000)]))
    assert np.abs(bare[30000 + shift : 60000 + shift] - whole[30000:60000]).max() < 1e-6


def test_mp3_of_variable_rate_without_a_header_is_read_to_its_end(tmp_path):
    check_variable_rate(tmp_path)


def test_planted_length_from_the_first_frame_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(io_decode, "mp3_stream", lambda file, size: None)
    with pytest.raises((AssertionError, io.UnreadableSound)):
        check_variable_rate(tmp_path)


def test_mp3_files_that_were_joined_or_cut(tmp_path):
    mp3 = encoded("MP3", seconds=3.0)
    whole = samples(saved(tmp_path, mp3))
    joined = samples(saved(tmp_path, mp3 + mp3))
    assert len(whole) == 24000 and 48000 <= len(joined) < 51000
    assert np.abs(joined[:23000] - whole[:23000]).max() < 1e-6
    frames = [f.place for f in io_mp3._frames(bytesio.BytesIO(mp3), len(mp3), 0)]
    cut = io.read_sound(saved(tmp_path, mp3[:-1]))
    there, of = 576 * (len(frames) - 2), 576 * (len(frames) - 1)
    assert cut.remarks == [f"truncated: {there} of {of} frames are there"]
    assert np.abs(cut.wave[0, :22000].numpy() - whole[:22000]).max() < 1e-6
    with pytest.raises(io.UnreadableSound, match=r"is truncated: \d+ of \d+ frames are there, less than 75 %"):
        io.read_sound(saved(tmp_path, mp3[: len(mp3) // 2]))


@pytest.mark.skipif(os.name != "posix", reason="file descriptors")
def test_the_decoder_of_mp3_writes_nothing_to_the_terminal(tmp_path, capfd, monkeypatch):
    mp3 = encoded("MP3")
    damaged = [mp3 + mp3, mp3[:-100], mp3[: len(mp3) // 2] + bytes(300) + mp3[len(mp3) // 2 :], mp3 + b"x" * 5000]
    damaged.append(b"ID3\4\0\0\0\0\0\x0aTIT2\xff\xff\xff\xff\0\0" + mp3)

    def read() -> str:
        for data in damaged:
            with suppress(io.UnreadableSound):
                io.read_sound(saved(tmp_path, data))
        return "".join(capfd.readouterr())

    assert read() == ""
    os.write(2, b"after")  # stderr is back
    assert capfd.readouterr().err == "after"
    monkeypatch.setattr(io_decode, "quiet_stderr", nullcontext)
    assert "Warning: Xing stream size off" in read()  # a decoder that is heard is caught


def test_mp3_with_tags(tmp_path):
    mp3 = encoded("MP3", seconds=1.0)
    whole = samples(saved(tmp_path, mp3))
    tag = b"ID3\4\0\0\0\0\x02\x05" + bytes(2 * 128 + 5)  # a size in bytes of 7 bits
    for data in (tag + mp3, tag + tag + mp3 + b"TAG" + bytes(125), mp3 + b"APETAGEX" + bytes(6000)):
        assert np.array_equal(samples(saved(tmp_path, data)), whole)


# --- what is said ---


def test_a_note_for_each_kind_with_a_count(tmp_path):
    spec = MediaSpec("audio", 1, ("time",), (1000,), (8000.0,))
    for i in range(6):
        data = wav(steps=STEPS - i)
        (tmp_path / f"{i}.wav").write_bytes(data[:-20] if i < 4 else data)
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        data = Folder(spec, tmp_path, label="none", valid=0.0)
    assert len(data) == 6 and len(notes) == 1
    expected = "4 of 6 sounds: 0.wav (truncated: 1980 of 2000 bytes are there); 1.wav (truncated"
    assert str(notes[0].message).startswith(expected) and str(notes[0].message).endswith("; and 1 more")
    line, _ = SoundFolderAnalyzer().inspect(tmp_path / "0.wav")
    assert line["remarks"][0] == "truncated: 1980 of 2000 bytes are there"
    with pytest.warns(UserWarning, match=r"0\.wav: truncated: 1980 of 2000 bytes are there"):
        assert Audio(8000, 0.125).read(tmp_path / "0.wav").shape == (1, 990)


def test_formats_that_are_not_read_have_the_same_words_in_training_and_prepare(tmp_path):
    spec = MediaSpec("audio", 1, ("time",), (1000,), (8000.0,))
    for i in range(3):
        (tmp_path / f"{i}.wav").write_bytes(wav(steps=STEPS - i))
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(200))
    (tmp_path / "b.m4a").write_bytes(wav(steps=STEPS - 9))  # named wrongly
    with pytest.warns(UserWarning, match=r"^skipped 1 of 5 files: \.m4a is not read: convert it, .* FLAC: a\.m4a$"):
        data = Folder(spec, tmp_path, label="none", valid=0.0, max_bad=0.0)
    assert len(data) == 4
    with pytest.raises(io.UnreadableSound, match=r"\.m4a is not read: convert it, for example to FLAC$"):
        SoundFolderAnalyzer().inspect(tmp_path / "a.m4a")
