"""TensorBoard: an event file in the folder `tensorboard` of the run; `tensorboard --logdir runs` shows all runs.

The file is written with the messages of the package tensorboard, not with torch.utils.tensorboard, whose thread
reports no errors. It is opened for each line, so that a run folder can be moved during the training.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...util.media_files import MediaFile
from .base import LoggedPreview, LoggedRun, Logger, import_logger_package

FOLDER = "tensorboard"
_PROTOCOL = "tensorboard.compat.proto"


class TensorBoard(Logger):
    """Writes scalars, previews and the recipe as an event file of TensorBoard."""

    def __init__(self) -> None:
        self._folder, self._name = Path(), ""

    def check(self) -> None:
        import_logger_package(_PROTOCOL)
        import_logger_package("tensorboard.summary.writer.record_writer")

    def start(self, run: LoggedRun) -> None:
        """Begin a file; events of an earlier file after `run.step` are hidden by the first event of this one."""
        self._folder, self._name = run.folder, f"events.out.tfevents.{time.time_ns() // 1000:020d}.sonolux"
        events = import_logger_package(f"{_PROTOCOL}.event_pb2")
        status = events.SessionLog(status=events.SessionLog.START)
        self._write({"step": run.step + 1, "session_log": status}, self._text_event(run))

    def move(self, folder: Path) -> None:
        """Go on in a file of another folder."""
        self._folder = folder

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write a scalar for each value."""
        summary = self._summary([{"tag": name, "simple_value": value} for name, value in values.items()])
        self._write({"step": step, "summary": summary})

    def show(self, step: int, previews: Sequence[LoggedPreview]) -> None:
        """Write the files of each example that TensorBoard can show, under the number of the example."""
        values = []
        for number, (files, caption) in enumerate(previews):
            for file in files:
                if (message := self._media(file)) is not None:
                    metadata = {"display_name": f"{number} {caption}".strip(), "summary_description": caption}
                    values.append({"tag": f"samples/{number}", file.family: message, "metadata": metadata})
        if values:
            self._write({"step": step, "summary": self._summary(values)})

    def close(self) -> None:
        """Nothing: the file is closed after each line."""

    def _text_event(self, run: LoggedRun) -> dict[str, Any]:
        """The recipe as TensorBoard's plugin for texts expects it: Markdown in a tensor of texts."""
        text = f"```yaml\n{run.recipe}```\n".encode()
        metadata = {"plugin_data": {"plugin_name": "text"}}
        tensor = {"dtype": "DT_STRING", "string_val": [text], "tensor_shape": {"dim": [{"size": 1}]}}
        return {
            "step": run.step,
            "summary": self._summary([{"tag": "recipe", "metadata": metadata, "tensor": tensor}]),
        }

    @staticmethod
    def _media(file: MediaFile) -> Any:
        """The message of a file; None if TensorBoard does not show files of its type."""
        messages = import_logger_package(f"{_PROTOCOL}.summary_pb2").Summary
        if file.family == "image":
            return messages.Image(encoded_image_string=file.data, colorspace=3, **_size_of_png(file.data))
        if file.mime == "audio/wav":
            return messages.Audio(encoded_audio_string=file.data, content_type=file.mime)
        return None

    @staticmethod
    def _summary(values: list[dict[str, Any]]) -> Any:
        summary = import_logger_package(f"{_PROTOCOL}.summary_pb2").Summary
        return summary(value=[summary.Value(**value) for value in values])

    def _write(self, *events: dict[str, Any]) -> None:
        """Append events to the file."""
        event = import_logger_package(f"{_PROTOCOL}.event_pb2").Event
        writer = import_logger_package("tensorboard.summary.writer.record_writer").RecordWriter
        path = self._folder / FOLDER / self._name
        path.parent.mkdir(exist_ok=True)
        now, records = time.time(), io.BytesIO()
        head = [] if path.exists() else [event(wall_time=now, file_version="brain.Event:2")]
        for one in (*head, *(event(wall_time=now, **fields) for fields in events)):
            writer(records).write(one.SerializeToString())
        with open(path, "ab", buffering=0) as file:
            file.write(records.getvalue())


def _size_of_png(data: bytes) -> dict[str, int]:
    """Width and height that the header of a PNG file states (RFC 2083, 4.1.1); none for another file."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return {}
    return {"width": int.from_bytes(data[16:20], "big"), "height": int.from_bytes(data[20:24], "big")}
