"""Recipes of tiny runs on captioned data made by code, for tests of the benchmarks of prompts."""

RECIPES = {
    "image": """
recipe: 1
name: drawn
modality: {use: image, size: 32, channels: 3}
data: {use: image/shapes, count: 60, label: none, held_out: [red circle], split: {by: hash, valid: 0.5}}
codec: {use: image/pixels}
network: {use: image/unet, width: 32, stages: [1, 1], patch: 2, cross_attention: [1]}
""",
    "audio": """
recipe: 1
name: heard
modality: {use: audio, rate: 8000, seconds: 1.0, channels: 1}
data: {use: audio/synth_sfx, count: 40, split: {by: hash, valid: 0.5}}
codec: {use: audio/logmel, n_fft: 512, hop: 128, mels: 64}
network: {use: audio/unet2d, width: 32, stages: [1, 1], patch: [4, 4], cross_attention: [1]}
""",
}
TRAINED = """
conditioning: {caption: {use: text, encoder: {use: bytes, hidden: 16, layers: 1}}}
train: {steps: 1, batch: 2, preview_every: 99, precision: float32, device: cpu}
sample: {use: dpmpp_2m, steps: 2, count: 2, batch: 8, guidance: {use: cfg, scale: 2.0}}
"""
