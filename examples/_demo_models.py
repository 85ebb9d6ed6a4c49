"""The part of the demo about packaged models: samples, few steps next to many, edits of each kind, loops."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sonolux
from sonolux.core.pipeline.pipeline import Pipeline
from sonolux.core.pipeline.result import Samples
from sonolux.core.training.model_card import ModelCard
from sonolux.core.types import BadInput
from sonolux.core.util.messages import format_command

PROMPTS, FEW, EDIT_STEPS = 6, 4, 12  # samples of a model; samples of the comparison of steps; steps of an edit


@dataclass
class Section:
    """A part of the page: what a command made.

    Attributes:
        title: Its heading.
        command: The command that does the same.
        files: File, relative to the page, and caption of each sample.
        pictures: Further pictures: the sheet of sounds, the denoising trajectory.
        notes: What the samples lack; or why there are none.
        repeated: Whether the samples are loops, which are shown several times.
    """

    title: str
    command: str
    files: list[tuple[str, str]] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    repeated: bool = False


@dataclass
class ModelPart:
    """The part of the page about a packaged model."""

    card: ModelCard
    sections: list[Section] = field(default_factory=list)


def conditions_of(examples: list[str]) -> dict[str, Any]:
    """Arguments of `Pipeline.sample` for the examples of a card: prompts, or labels."""
    labels = [text.removeprefix("label=") for text in examples if text.startswith("label=")]
    prompts = [text for text in examples if "=" not in text]
    return {"prompt": prompts} if prompts else {"label": labels} if labels else {}


def make(part: ModelPart, out: Path, title: str, words: list[Any], call: Callable[[], Samples]) -> Section:
    """Add what a call makes to the part of a model; a call that the model does not support adds the reason."""
    section = Section(title, format_command("sonolux", *words))
    folder = f"{part.card.name}/{len(part.sections) + 1:02d}"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            samples = call()
            paths = samples.save(out / folder, trajectory=bool(samples.frames), overwrite=True)
        except BadInput as error:
            section.notes.append(str(error))
        else:
            captions = samples.captions
            section.files = [(f"{folder}/{p.name}", c) for p, c in zip(paths, captions, strict=True)]
            section.pictures = [f"{folder}/sheet.png"] * (paths[0].suffix != ".png")
            section.pictures += [f"{folder}/trajectory.png"] * bool(samples.frames)
    section.notes += [str(w.message).replace(f"{out}{os.sep}", "") for w in said if issubclass(w.category, UserWarning)]
    part.sections.append(section)
    return section


def show_model(name: str, part: ModelPart, out: Path) -> Iterator[None]:
    """Fill the part of a model: samples and their trajectory, few steps next to many, edits of each kind, a loop.

    Args:
        name: The model.
        part: Its part.
        out: Folder of the page.

    Yields:
        After each section.
    """
    pipeline, examples = sonolux.load(name), part.card.examples[:PROMPTS]
    asked = conditions_of(examples)
    count = max(len(examples), 2)
    words = ["sample", name, *examples]
    title = "Asked in words" if "prompt" in asked else "Samples"
    first = make(part, out, title, [*words, "--trajectory"],
                 lambda: pipeline.sample(count=count, trajectory=3, **asked))  # fmt: skip
    yield
    for steps in sorted({*(pipeline.plans or (5, 10)), pipeline.recipe.sample.steps}):
        plan = "calibrated plan" if steps in pipeline.plans else "sampler of the recipe"
        began = time.monotonic()
        made = make(part, out, f"{steps} steps", [*words[: 2 + FEW], f"steps={steps}"],
                    lambda n=steps: pipeline.sample(count=FEW, steps=n, **conditions_of(examples[:FEW])))  # fmt: skip
        made.title += f" ({plan}, {time.monotonic() - began:.1f} s for {len(made.files)} samples)"
        yield
    files = [str(out / path) for path, _ in first.files]
    for title, options, call in edits(pipeline, files, examples) if len(files) > 1 else ():
        task, *others = options
        edit = [task, name, *others] if task == "sample" else ["edit", name, task, *others]
        section = make(part, out, title, edit, call)
        section.repeated = task == "sample"
        yield


def edits(
    pipeline: Pipeline, files: list[str], examples: list[str]
) -> list[tuple[str, list[Any], Callable[[], Samples]]]:
    """Title, words of the command and call of an edit of each kind that media of these axes and conditions have."""
    a, b = files[:2]
    spec, asked = pipeline.context.spec, conditions_of(examples[1:2])
    steps = {"steps": EDIT_STEPS}
    few = f"steps={EDIT_STEPS}"
    found: list[tuple[str, list[Any], Callable[[], Samples]]] = [
        ("Variations", ["vary", a, "strength=0.6", "count=3", few], lambda: pipeline.vary(a, 0.6, 3, **steps)),
    ]
    if "time" in spec.axes:
        length = spec.size[0] / (spec.rates[0] or 1)
        start, end, more = (round(share * length, 2) for share in (0.4, 0.7, 0.5))
        found += [
            ("A part made anew", ["inpaint", a, f"from={start}", f"to={end}", "count=2", few],
             lambda: pipeline.inpaint(a, [(start, end)], count=2, **steps)),
            ("Continued", ["continue", a, f"seconds={more}", "count=2", few],
             lambda: pipeline.extend(a, more, 2, **steps)),
        ]  # fmt: skip
    else:
        height, width = spec.size
        box = [0, height // 2, width, height]
        shown = "box=[" + ",".join(map(str, box)) + "]"
        found.append(
            ("The lower half made anew", ["inpaint", a, shown, "count=3", few],
             lambda: pipeline.inpaint(a, box=box, count=3, **steps))
        )  # fmt: skip
    found.append(("From one to the other", ["morph", a, b, "count=5", few], lambda: pipeline.morph(a, b, 5, **steps)))
    if "prompt" in asked:
        prompt, source = asked["prompt"][0], examples[0]
        found.append(
            ("Another sentence for the same file", ["reprompt", a, prompt, f"source={source}"],
             lambda: pipeline.reprompt(a, prompt, source))
        )  # fmt: skip
    operator = {"use": "downsample", "factor": 2}
    found += [
        ("Recovered from half the resolution", ["recover", a, "operator=downsample", "operator.factor=2", few],
         lambda: pipeline.recover(a, operator, **steps)),
        ("Loops, which have no edge", ["sample", *examples[:1], "loop=true", "count=2"],
         lambda: pipeline.sample(count=2, loop=True, **conditions_of(examples[:1]))),
    ]  # fmt: skip
    return found
