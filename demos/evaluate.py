# %% [markdown]
# # Measures: how good is a folder of audio?
#
# The same as `audiocraft evaluate made --reference real --prompts prompts.jsonl`.

# %%
import tempfile
from pathlib import Path

from audiocraft.audio.files import audio_write
from audiocraft.generation import GenerationRequest
from audiocraft.models import MusicGen
from audiocraft.workflows.evaluation.evaluate import Evaluator

root = Path(tempfile.mkdtemp())
model = MusicGen.get_pretrained("nano")
prompts = (
    "calm piano, 80 bpm",
    "rock, electric guitar, drums, 140 bpm",
    "folk, violin, 100 bpm",
    "techno, 128 bpm",
)
for name, seed in (("made", 1), ("reference", 100)):
    result = model.run(GenerationRequest(prompts=prompts, duration=6, seeds=tuple(range(seed, seed + 4))))
    for number, audio in enumerate(result.audio):
        audio_write(root / name / f"{number}", audio, result.sample_rate)

# %%
found = Evaluator().evaluate(root / "made", reference=root / "reference")
print(found.embedder, found.size)
for figure in found.figures:
    print(f"{figure.name:20} {figure.shown}")
