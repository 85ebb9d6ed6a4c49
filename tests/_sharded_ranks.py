"""One of the ranks of a sharded training: `python tests/_sharded_ranks.py FOLDER`, see `_ranks.py`."""

import json
import os
import time
from types import SimpleNamespace

import torch
from _ranks import SOUNDS, made, run_scenarios, run_training, train, write
from sonolux.core.config.load import load_recipe_text
from sonolux.core.nn import compilation
from sonolux.core.training import sharding
from sonolux.core.training.callbacks import Callback
from sonolux.core.training.distributed import JoinedRanks, RankFailed, Ranks
from sonolux.core.training.ema import ShardedEMA
from sonolux.core.training.optimizers.muon import Muon
from sonolux.core.training.run import RunFailed, TrainingRun
from sonolux.core.training.step import Trainer
from sonolux.core.types import BadInput

VARIANTS = {
    "adamw": [],
    "accumulated": ["train.accumulate=2", "train.checkpoint_activations=true"],
    "muon": ["train.optimizer={use: muon, lr: 0.01}"],
    "transformer": [
        "network={use: audio/dit, size: nano, patch: 4, skips: true, dropout: 0.1}",
        "conditioning.caption=null",
    ],
    "compiled": ["train.compile=true", "train.checkpoint_activations=true"],
}
FULL = "train.shard=full"
compilation.BACKEND = "eager"  # the compiler for CPUs takes minutes
BF16 = ["train.steps=3", "train.precision=bf16"]


def scenario_same_weights(ranks, folder):
    for name, changes in VARIANTS.items():
        write(ranks, folder / f"{name}.safetensors", train(ranks, *changes, FULL))


def scenario_hybrid(ranks, folder):
    """Two machines of one process each."""
    os.environ["LOCAL_WORLD_SIZE"] = "1"
    write(ranks, folder / "hybrid.safetensors", train(ranks, "train.shard=hybrid"))
    os.environ["LOCAL_WORLD_SIZE"] = str(1 + ranks.rank)
    try:
        train(ranks, "train.shard=hybrid")
    except BadInput as error:
        (folder / f"hybrid-{ranks.rank}.txt").write_text(str(error))
    os.environ.pop("LOCAL_WORLD_SIZE")


def scenario_planted(ranks, folder):
    """What shards do wrong if gradients are averaged, norms are of parts only, weights of no row are decayed, ..."""
    from torch.distributed.fsdp import FSDPModule

    gather = torch.distributed.all_gather
    without_sums = SimpleNamespace(all_reduce=lambda *args, **options: None, all_gather=gather)
    planted = {
        "averaged": ("adamw", FSDPModule, "set_gradient_divide_factor", lambda self, factor: None),
        "norm of a part": ("adamw", sharding, "dist", without_sums),
        "conditions not summed": ("adamw", JoinedRanks, "sum_gradients", lambda self, modules: None),
        "unused weights decayed": ("adamw", sharding, "_without_unconditional", lambda network, inputs: None),
        "average not updated": ("adamw", ShardedEMA, "update", lambda self, model, step: None),
        "orthogonalised parts": ("muon", Muon, "shard", lambda self, optimizer, shards: None),
    }
    for name, (variant, owner, attribute, wrong) in planted.items():
        right = getattr(owner, attribute)
        setattr(owner, attribute, wrong)
        write(ranks, folder / f"{name}.safetensors", train(ranks, *VARIANTS[variant], FULL))
        setattr(owner, attribute, right)


def scenario_resume(ranks, folder):
    """Four steps with two sharded ranks, two with one process, three with two sharded ranks, and a preview."""
    common = ["train.decay=none", FULL]
    run_training(ranks, folder / "run", "train.steps=4", *common)
    if ranks.writes:
        run_training(Ranks(), folder / "run", "train.steps=6", *common, resume=4)
    ranks.wait()
    run = made(ranks, folder / "run", "train.steps=9", *common, "sample.count=2", "sample.steps=2", previews=True)
    run.prepare(folder / "run/checkpoints/step-00000006.safetensors")
    shards = run.trainer.shards
    sizes = [[part.numel() for part in shards.parts if shards.is_divided(part) == divided] for divided in (True, False)]
    counts = ranks.gather_json([sum(map(sum, sizes)), *map(sum, sizes)])
    if ranks.writes:
        whole = sum(p.numel() for p in run.parts.model.parameters())
        (folder / "counts.json").write_text(json.dumps([counts, whole]))
    run.run()


def scenario_bf16(ranks, folder):
    run_training(ranks, folder / "bf16", *BF16, FULL)


def scenario_failed_action(ranks, folder):
    """An action of rank 0 fails, by bad input and by an error of the program; no rank ends its process."""
    found = []
    for name, error in (("full", BadInput("no room for the preview")), ("broken", ZeroDivisionError("by zero"))):

        class Failing(Callback):
            def on_step(self, run, result, error=error):
                if run.step == 2:
                    raise error

        recipe = load_recipe_text(SOUNDS, overrides=["train.steps=1000", FULL], bare_section=None)
        run = TrainingRun(recipe, folder / name, lambda _: None, False, [Failing()], ranks=ranks)
        run.prepare()
        began = time.monotonic()
        try:
            run.run()
        except (BadInput, RankFailed, ZeroDivisionError) as failure:
            found.append([type(failure).__name__, str(failure), run.step, time.monotonic() - began])
        ranks.ends_together = False
    both = ranks.gather_json(found)
    if ranks.writes:
        (folder / "failed.json").write_text(json.dumps(both))


def scenario_lost_rank(ranks, folder):
    """Rank 1 ends in its fourth step, while the other one waits for its part of the weights."""
    true = Trainer.loss

    def loss(self, batch):
        if ranks.rank == 1 and self.step == 3:
            os._exit(0)
        return true(self, batch)

    Trainer.loss = loss
    try:
        run_training(ranks, folder / "lost", "train.steps=1000", FULL)
    except RunFailed as error:
        (folder / "lost.json").write_text(json.dumps(str(error)))
        os._exit(0)


if __name__ == "__main__":
    run_scenarios(globals())
