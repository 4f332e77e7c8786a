"""Conditioners: what a model is told, embedded. The records they read are those of `audiocraft.types`."""

from audiocraft.modules.conditioners.base import (
    BaseConditioner,
    JascoCondConst,
    TextConditioner,
    nullify_chords,
    nullify_condition,
    nullify_joint_embed,
    nullify_melody,
    nullify_symbolic,
    nullify_wav,
)
from audiocraft.modules.conditioners.dropout import (
    AttributeDropout,
    ClassifierFreeGuidanceDropout,
    DropoutModule,
    dropout_condition,
    dropout_symbolic_conditions,
    unconditional,
)
from audiocraft.modules.conditioners.fuser import ConditionFuser, Fused
from audiocraft.modules.conditioners.joint import CLAPEmbeddingConditioner, JointEmbeddingConditioner
from audiocraft.modules.conditioners.provider import ConditioningProvider
from audiocraft.modules.conditioners.style import FeatureExtractor, StyleConditioner
from audiocraft.modules.conditioners.text import (
    BagOfWordsConditioner,
    LUTConditioner,
    NoopTokenizer,
    T5Conditioner,
    Tokenizer,
    WhiteSpaceTokenizer,
)
from audiocraft.modules.conditioners.waveform import ChromaStemConditioner, WaveformConditioner
from audiocraft.types import (
    ConditioningAttributes,
    ConditionType,
    JointEmbedCondition,
    SegmentWithAttributes,
    SymbolicCondition,
    TextCondition,
    WavCondition,
)

__all__ = [
    "AttributeDropout",
    "BagOfWordsConditioner",
    "BaseConditioner",
    "CLAPEmbeddingConditioner",
    "ChromaStemConditioner",
    "ClassifierFreeGuidanceDropout",
    "ConditionFuser",
    "ConditionType",
    "ConditioningAttributes",
    "ConditioningProvider",
    "DropoutModule",
    "FeatureExtractor",
    "Fused",
    "JascoCondConst",
    "JointEmbedCondition",
    "JointEmbeddingConditioner",
    "LUTConditioner",
    "NoopTokenizer",
    "SegmentWithAttributes",
    "StyleConditioner",
    "SymbolicCondition",
    "T5Conditioner",
    "TextCondition",
    "TextConditioner",
    "Tokenizer",
    "WavCondition",
    "WaveformConditioner",
    "WhiteSpaceTokenizer",
    "dropout_condition",
    "dropout_symbolic_conditions",
    "nullify_chords",
    "nullify_condition",
    "nullify_joint_embed",
    "nullify_melody",
    "nullify_symbolic",
    "nullify_wav",
    "unconditional",
]
