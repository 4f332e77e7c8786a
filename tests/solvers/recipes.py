"""A recipe of every kind of run, so small that six steps of it take a moment."""

from __future__ import annotations

from pathlib import Path

SMALL = [
    "device=cpu",
    "num_threads=1",
    "dataset.batch_size=2",
    "dataset.valid.num_samples=2",
    "dataset.valid.batch_size=2",
    "dataset.generate.num_samples=1",
    "dataset.generate.batch_size=1",
    "dataset.evaluate.num_samples=2",
    "dataset.evaluate.batch_size=2",
    "optim.epochs=2",
    "optim.updates_per_epoch=3",
    "schedule.cosine.warmup=1",
    "generate.every=1",
    "logging.log_updates=3",
]
_WORDS = ["conditioners.description.bag_of_words.n_bins=64", "conditioners.description.bag_of_words.dim=8"]
_TRANSFORMER = [
    "transformer_lm.dim=16",
    "transformer_lm.num_heads=2",
    "transformer_lm.num_layers=1",
    "transformer_lm.card=16",
]
_WATERMARK = {
    "nano": [
        "modulation.n_fft=128",
        "modulation.spacing=500",
        "modulation.per_octave=2",
        "modulation.trend=5",
        "modulation.spread=7",
        "modulation.memory=9",
        "modulation.past=6",
        "modulation.hidden=4",
        "decide_every=64",
        "audioseal.nbits=4",
        "~audio_effects.mp3_compression",
        "~audio_effects.opus_compression",
        "encodec={}",
    ],
    "debug": [
        "audioseal.nbits=2",
        "~audio_effects.mp3_compression",
        "adversarial.every=2",
        "losses.msspec=0.0",  # half the time of a step, and nothing that a run remembers
        "losses.tf_loudnessratio=0.0",
    ],
}


def compression(corpus: Path) -> list[str]:
    """The nano codec: the adversary from the third step on."""
    return [
        "solver=compression/nano_seanet",
        *SMALL,
        f"datasource.root={corpus}",
        "datasource.mix=[]",
        "dataset.segment_duration=0.16",
        "dataset.generate.segment_duration=0.2",
        "seanet.n_filters=2",
        "seanet.dimension=8",
        "rvq.bins=16",
        "rvq.kmeans_iters=2",
        "quantize_from=1",
        "losses.adv=1.0",
        "losses.feat=1.0",
        "adversarial.every=2",
        "msstftd.filters=2",
        "adversarial.start_step=2",
    ]


def _of_codes(corpus: Path, codec: Path, codes: Path) -> list[str]:
    """What reads clips that the codec of a run has encoded."""
    return [
        f"datasource.root={corpus}",
        *splits("train", "valid", "evaluate", "generate"),
        f"cache.path={codes}",
        f"compression_model_checkpoint={codec}",
        "dataset.segment_duration=0.4",
        *_WORDS,
    ]


def splits(*used: str) -> list[str]:
    """Where the clips of a split lie in the corpus."""
    return [f"datasource.{use}=egs/music/{use if use in ('train', 'valid') else 'heldout'}" for use in used]


def musicgen(corpus: Path, codec: Path, codes: Path) -> list[str]:
    return ["solver=musicgen/nano", *SMALL, *_of_codes(corpus, codec, codes), *_TRANSFORMER]


def audiogen(corpus: Path, codec: Path, codes: Path) -> list[str]:
    return ["solver=audiogen/nano", *SMALL, "autocast=false", *_of_codes(corpus, codec, codes), *_TRANSFORMER]


def magnet(corpus: Path, codec: Path, codes: Path) -> list[str]:
    return [
        "solver=magnet/nano",
        "transformer_lm.n_q=4",
        *SMALL,
        *_of_codes(corpus, codec, codes),
        *_TRANSFORMER,
        "continue_from=null",
        "autocast=false",
        "evaluate.every=null",
        "generate.lm.decoding_steps=[2,1]",
        "decoding.decoding_steps=[2,1]",
    ]


def jasco(corpus: Path, codec: Path, codes: Path) -> list[str]:
    return [
        "solver=jasco/nano",
        *SMALL,
        *_of_codes(corpus, codec, codes),
        "compression_model_framerate=25",
        "transformer_lm.dim=16",
        "transformer_lm.num_heads=2",
        "transformer_lm.num_layers=2",
        "transformer_lm.flow_dim=8",
    ]


def diffusion(corpus: Path) -> list[str]:
    """A network of a few thousand weights, on the bundled codec."""
    return [
        "solver=diffusion/nano",
        *SMALL,
        f"datasource.root={corpus}",
        "datasource.mix=[]",
        "dataset.segment_duration=0.16",
        "diffusion_unet.hidden=8",
        "diffusion_unet.growth=1.0",
        "diffusion_unet.conv_blocks=1",
        "processor.num_samples=4",
        "processor.n_bands=2",
    ]


def watermark(corpus: Path, recipe: str) -> list[str]:
    return [
        f"solver=watermark/{recipe}",
        *SMALL,
        *_WATERMARK[recipe],
        f"datasource.root={corpus}",
        *splits("train", "valid", "evaluate", "generate"),
        "datasource.mix=[]",
        "dataset.segment_duration=0.3",
        "dataset.generate.segment_duration=0.4",
    ]
