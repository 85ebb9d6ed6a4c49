"""Which words of a caption a run uses: how much the error of x0 rises when one word of the caption is wrong.

    python benchmarks/wrong_words.py RUN ... [--count 96] [--set train.device=cpu]

Held-out examples are noised at a few noise levels and denoised with their own caption, with one attribute replaced by
another ("above" by "below", "red" by "green"), and without a caption. 0 % means that the run ignores the attribute at
this level. Positions and other things that the noise hides show at high levels only, details at low ones. This shows
after a few hundred steps what samples show much later. Runs on image/shapes or audio/synth_sfx with a text condition.
"""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from _bench import Table, print_tables, runs_parser
from sonolux.core.conditioning.base import EmbeddedValues, build_conditioning
from sonolux.core.nn.model import ConditionedNetwork
from sonolux.core.training.build import build_dataset
from sonolux.core.types import BadInput, Conditioning, NoiseLevel
from sonolux.core.util.rng import keyed_generator
from sonolux.modalities.audio.synthetic import effects
from sonolux.modalities.image.synthetic import scenes

RHOS = (0.5, 1.5, 5.0, 15.0)  # sigma / alpha
Words = Mapping[str, Sequence[str]]
WORDS: dict[str, Words] = {
    "image/shapes": {
        "shape": scenes.SHAPES,
        "colour": tuple(scenes.COLOURS),
        "size": scenes.SIZES,
        "relation": ("above", "below", "left of", "right of"),
    },
    "audio/synth_sfx": {
        "family": effects.FAMILIES,
        "pitch": effects.PITCHES,
        "length": effects.LENGTHS,
        "sweep": effects.SWEEPS,
    },
}
_OPPOSITES = (("above", "below"), ("left of", "right of"))  # others could hold as well: above and left of


def replace_one(text: str, words: Sequence[str], rng: Any) -> str | None:
    """The text with one of its `words` replaced by another that is not in it; None if it has none of them."""
    found = [*re.finditer("|".join(rf"\b{re.escape(word)}\b" for word in words), text)]
    if not found:
        return None
    place = found[rng.integers(len(found))]
    others = [word for word in words if word not in text] or [word for word in words if word != place[0]]
    opposite = [word for pair in _OPPOSITES if place[0] in pair for word in pair if word != place[0]]
    chosen = opposite[0] if opposite else others[rng.integers(len(others))]
    return text[: place.start()] + chosen + text[place.end() :]


def measure(run: str, args: Namespace) -> Table:
    """The errors of one run."""
    import sonolux

    trained = sonolux.load(run, device="cpu", changes=args.set)
    kinds = WORDS.get(trained.recipe.data.use)
    if kinds is None:
        raise BadInput(f"{run} was trained on {trained.recipe.data.use}: this benchmark requires {' or '.join(WORDS)}")
    name = next((n for n, c in trained.model.conditions.items() if getattr(c, "accepts_prompts", False)), None)
    if name is None:
        raise BadInput(f"{run} has no text condition")
    data, _ = build_dataset(trained.recipe, "valid")
    items = [data.item(i) for i in range(min(args.count, len(data)))]
    captions = [str(item.caption) for item in items]
    with torch.no_grad():
        x0 = trained.codec.encode(torch.stack([item.media for item in items]))
    table = Table(f"{run} (step {trained.step}), {len(items)} held-out captions such as {captions[0]!r}")
    for rho in RHOS:
        noise = torch.from_numpy(keyed_generator(args.seed, 0, "wrong words", str(rho)).standard_normal(x0.shape))
        errors = {"right": denoise_errors(trained, name, captions, x0, noise.float(), rho)}
        table.add(f"sigma / alpha {rho:g}: mean squared error", float(errors["right"].mean()), "{:.4f}")
        for kind, words in kinds.items():
            drawn = [replace_one(c, words, keyed_generator(args.seed, i, kind)) for i, c in enumerate(captions)]
            rows = [i for i, text in enumerate(drawn) if text is not None]
            wrong = denoise_errors(trained, name, [drawn[i] for i in rows], x0[rows], noise[rows].float(), rho)
            table.add(f"  wrong {kind}", float(wrong.mean() / errors["right"][rows].mean()) - 1, "{:+.1%}")
        without = denoise_errors(trained, name, [None] * len(items), x0, noise.float(), rho)
        table.add("  no caption", float(without.mean() / errors["right"].mean()) - 1, "{:+.1%}")
    return table


def denoise_errors(
    trained: Any, name: str, texts: Sequence[str | None], x0: torch.Tensor, noise: torch.Tensor, rho: float
) -> torch.Tensor:
    """Mean squared error of the estimate (B, C, *spatial) for each text, (B,); rho is sigma / alpha."""
    process, model = trained.components.process, trained.model
    found = process.schedule.level_of_rho(rho)
    level = NoiseLevel(float(found.t), float(found.alpha), float(found.sigma))
    with torch.inference_mode():
        conditioning = embed_texts(model, name, texts)
        estimate = process.denoiser(model).denoise(level.alpha * x0 + level.sigma * noise, level, conditioning).x0
    return (estimate - x0).square().flatten(1).mean(1)


def embed_texts(model: ConditionedNetwork, name: str, texts: Sequence[str | None]) -> Conditioning:
    """The conditioning of texts; None is unconditional."""

    def embed(key: str, values: Sequence[Any]) -> EmbeddedValues:
        condition: Any = model.conditions[key]
        return condition.embed(condition.encode(values, None))

    values = {key: [*texts] if key == name else [None] * len(texts) for key in model.conditions}
    return build_conditioning(model.conditions, values, embed)


def main() -> int:
    """Measure every run."""
    args = runs_parser(__doc__, 96, "number of held-out examples").parse_args()

    return print_tables(args.runs, lambda run: measure(run, args))


if __name__ == "__main__":
    sys.exit(main())
