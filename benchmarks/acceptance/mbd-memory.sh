#!/usr/bin/env bash
# MultiBandDiffusion, 10 min of audio in <= 1.5 GB (networks of the sizes of diffusion/nano, random weights; memory does not depend on them), at 1, 4 and 10 min; 10-20 minutes (MINUTES="0.1 0.2" tries it)
. "$(dirname "$0")/common.sh"
for minutes in ${MINUTES:-1 4 10}; do
$PY - $minutes $OUT <<'P'
import resource, subprocess, sys, time
from pathlib import Path
import numpy as np, soundfile, torch
from audiocraft.checkpoints.write import write_model
from audiocraft.config.decode import encode
from audiocraft.config.diffusion import BandConfig, DiffusionUnetConfig, MultiBandConfig, ProcessorConfig
from audiocraft.models.multibanddiffusion import build_bands
minutes, out = float(sys.argv[1]), Path(sys.argv[2])
torch.manual_seed(0)
unet = DiffusionUnetConfig(hidden=32, depth=3, growth=2.0, norm_groups=4, kernel=8, stride=4, codec_dim=96, conv_blocks=6, frame_norm=True)
config = MultiBandConfig(sample_rate=24000, codec="nano-wide", bands=(BandConfig(diffusion_unet=unet, processor=ProcessorConfig(use=True, n_bands=8)),))
bands = build_bands(config)
bands.bands[0].model.decoders[-1].convtr.weight.data *= 0.1
bands.bands[0].processor.project_sample(torch.randn(2, 1, 24000) * 0.1)
write_model(out / "mbd", kind="diffusion", config=encode(config), tensors=bands.state_dict())
minute = 0.1 * np.random.default_rng(0).standard_normal(24000 * 6)
with soundfile.SoundFile(out / "in.wav", "w", 24000, 1, "PCM_16") as file:
    for _ in range(round(minutes * 10)):
        file.write(minute)
began = time.perf_counter()
subprocess.run([sys.executable, "-m", "audiocraft", "enhance", str(out / "in.wav"), "--decoder", str(out / "mbd"),
                "--steps", "4", "--solver", "dpm", "--quiet", "-o", str(out / "out.wav")], check=True)
print(f"{minutes:g} min: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB resident, "
      f"{time.perf_counter() - began:.0f} s, {soundfile.info(out / 'out.wav').duration:.1f} s of audio")
P
done
