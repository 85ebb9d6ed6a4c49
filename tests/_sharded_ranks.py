"""One of the ranks of a sharded training: `python tests/_sharded_ranks.py FOLDER`, see `_ranks.py`."""

import json

import torch
from _ranks import made, run_scenarios, run_training, train, write
from sonolux.core.training import sharding
from sonolux.core.training.distributed import JoinedRanks, Ranks
from sonolux.core.training.ema import ShardedEMA
from sonolux.core.training.optimizers.muon import _MuonAdamW

VARIANTS = {
    "adamw": [],
    "accumulated": ["train.accumulate=2"],
    "checkpointed": ["train.checkpoint_activations=true"],
    "muon": ["train.optimizer={use: muon, lr: 0.01}"],
    "transformer": ["network={use: audio/dit, size: nano, patch: 4, skips: true, dropout: 0.1}", "conditioning.caption=null"],
}
FULL = "train.shard=full"


def scenario_same_weights(ranks, folder):
    for name, changes in VARIANTS.items():
        write(ranks, folder / f"{name}.safetensors", train(ranks, *changes, FULL))


def scenario_planted(ranks, folder):
    """What shards do wrong if gradients are averaged, norms are of parts only, weights of no row are decayed, ..."""
    from torch.distributed.fsdp import FSDPModule

    planted = {
        "averaged": ("adamw", FSDPModule, "set_gradient_divide_factor", lambda self, factor: None),
        "norm of a part": ("adamw", torch.distributed, "all_reduce", lambda *args, **options: None),
        "conditions not summed": ("adamw", JoinedRanks, "sum_gradients", lambda self, modules: None),
        "unused weights decayed": ("adamw", sharding, "_without_unconditional", lambda network, inputs: None),
        "average not updated": ("adamw", ShardedEMA, "update", lambda self, model, step: None),
        "orthogonalised parts": ("muon", _MuonAdamW, "_whole", lambda self, p, update: update),
    }
    for name, (variant, owner, attribute, wrong) in planted.items():
        right = getattr(owner, attribute)
        setattr(owner, attribute, wrong)
        write(ranks, folder / f"{name}.safetensors", train(ranks, *VARIANTS[variant], FULL))
        setattr(owner, attribute, right)


def scenario_resume(ranks, folder):
    """Four steps with two sharded ranks, two with one process, three with two sharded ranks; previews and all."""
    common = ["train.decay=none", FULL]
    run_training(ranks, folder / "run", "train.steps=4", *common)
    if ranks.writes:
        run_training(Ranks(), folder / "run", "train.steps=6", *common, resume=4)
    ranks.wait()
    run_training(ranks, folder / "run", "train.steps=9", *common, "train.preview_every=3", resume=6)
    parts = [part.numel() for part in made.last.trainer.shards.parts]
    counts = ranks.gather_json([sum(parts), made.last.trainer.optimizer.param_groups[0]["params"][0].shape[0]])
    if ranks.writes:
        (folder / "counts.json").write_text(json.dumps([counts, sum(p.numel() for p in made.last.parts.model.parameters())]))


def scenario_bf16(ranks, folder):
    write(ranks, folder / "bf16.safetensors", train(ranks, "train.precision=bf16", FULL))


if __name__ == "__main__":
    run_scenarios(globals())
