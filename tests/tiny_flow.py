"""A flow that is tiny and random, over the latents of the bundled codec, told everything there is."""

from __future__ import annotations

from pathlib import Path

import torch

from audiocraft.checkpoints.write import write_model
from audiocraft.config.decode import encode
from audiocraft.config.flow import FlowConfig
from audiocraft.generation.controls import Controls
from audiocraft.models.builders import build_flow

WIDTH, RATE = 96, 24000


def tiny(dim: int = 16, *, plans: bool = False) -> FlowConfig:
    """A flow over the latents of the bundled codec, which is told everything that the original's are, or plans too."""
    more = {"decoding": {"flow_steps": 3, "cfg_coef_txt": 0.5}} if plans else {}
    plan = {"plan": {"model": "score", "score": {"frame_rate": 25, "dim": 8}}} if plans else {}
    return FlowConfig.select(
        {
            **more,
            "lm_model": "flow_matching",
            "transformer_lm": {
                "dim": dim, "num_heads": 2, "num_layers": 2, "flow_dim": WIDTH,
                "chords_dim": 4, "drums_dim": 2, "melody_dim": 3, "skip_connections": True,
            },
            "conditioners": {
                **plan,
                "description": {"model": "bag_of_words", "bag_of_words": {"n_bins": 64, "dim": 8}},
                "chords": {"model": "chords_emb", "chords_emb": {"card": 194, "out_dim": 4}},
                "melody": {"model": "melody", "melody": {"card": 53, "out_dim": 3}},
                "self_wav": {
                    "model": "drum_latents",
                    "drum_latents": {
                        "sample_rate": RATE, "separator": "percussive", "compression_model_latent_dim": WIDTH,
                        "compression_model_framerate": 25, "segment_duration": 2.0,
                    },
                },
            },
            "fuser": {"cross": ["description"], "frames": [*plan], "ignore": ["chords", "melody", "self_wav"]},
            "classifier_free_guidance": {"inference_coef": 2.0},
            "sample_rate": RATE,
            "channels": 1,
            "compression_model_checkpoint": "nano",
            "compression_model_framerate": 25.0,
            "max_duration": 2.0,
        }
    )  # fmt: skip


def written(folder: Path, dim: int = 16, *, plans: bool = False) -> Path:
    """Such a model as a folder in our format, always the same."""
    config, generator = tiny(dim, plans=plans), torch.Generator().manual_seed(3)
    model = build_flow(config)
    for parameter in model.parameters():
        parameter.data.normal_(std=0.2, generator=generator)
    return write_model(folder, kind="lm", family="jasco", config=encode(config), tensors=model.state_dict())


def drums(seconds: float = 1.0) -> torch.Tensor:
    """Clicks, twice a second."""
    wav = torch.zeros(1, int(seconds * RATE))
    wav[:, :: RATE // 2] = 0.9
    return wav


CONTROLS = Controls(chords=(("C", 0.0), ("Am", 0.4)), drums=drums(), drums_sample_rate=RATE)
