"""AudioGen: sounds from text."""

from __future__ import annotations

from audiocraft.checkpoints.families import ModelFamily, Release
from audiocraft.families._kinds import LANGUAGE_MODEL, NON_COMMERCIAL, token_settings
from audiocraft.families.musicgen import CONTINUES

# Its networks are MusicGen's, so that no configuration tells them apart: the file says it, or the solver.
FAMILY = ModelFamily(
    name="audiogen",
    title="AudioGen",
    kind=LANGUAGE_MODEL,
    config="audiocraft.config.networks:LMConfig",
    build="audiocraft.models.loaders:build_complete_lm",
    facade="audiocraft.models.audiogen:AudioGen",
    makes="sound",
    parts="audiocraft.models.loaders:parts_of_lm",
    solvers=("audiogen",),
    inputs={"score": "plan"},
    always_takes=CONTINUES,
    precisions=("fp32", "bf16", "fp16", "int8", "int4"),
    settings=token_settings,
    releases=(
        Release(repo="audiogen-nano", family_aliases=("nano",)),
        Release(
            repo="facebook/audiogen-medium",
            aliases=("audiogen", "audiogen-medium"),
            family_aliases=("medium",),
            takes=CONTINUES,
            sample_rate=16000,
            channels=1,
            window=10.0,
            guidance=3.0,
            licence=NON_COMMERCIAL,
        ),
    ),
)
