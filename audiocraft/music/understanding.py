"""What was understood of a prompt: what will be played, which words say nothing to the model, and what cannot be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from audiocraft.music.harmony import parse_key
from audiocraft.music.planning import FASTEST, PLAN_WORDS, SLOWEST, ScoreSettings, progression_of, reachable
from audiocraft.music.progressions import parse_progression, symbols_of
from audiocraft.music.reading import PromptNote, Reading, read
from audiocraft.music.rewording import reword
from audiocraft.music.scenes import read_scene, scene_line, without_scene
from audiocraft.music.sound_kinds import SoundKinds
from audiocraft.music.translating import Translation, model_words, translate
from audiocraft.music.vocabulary import STOP_WORDS, Vocabulary, content_of, words_of
from audiocraft.types import Scene, ScorePlan

# Words about the plan itself, which the rules read or which say nothing more.
_OF_PLANS = PLAN_WORDS | frozenset("bpm beat per minute tempo key chord progression".split())
_DENYING = frozenset("no without minus except".split())  # guidance leads away from what follows
_NOTHING_SET = ScoreSettings()
_FEW = 5  # words that stand for a vocabulary


@dataclass(frozen=True, kw_only=True, slots=True)
class Suggestion:
    """Another model, which knows words of the prompt that the chosen one does not.

    Args:
        words: what it knows.
    """

    model: str
    words: tuple[str, ...]

    def said(self, *, option: str = "") -> str:
        """Return the suggestion as a sentence for people.

        Args:
            option: what is written before the model's name to choose it, such as "-m ".
        """
        return f"try {option}{self.model}, which knows: {', '.join(self.words)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Understanding:
    """What was understood of one prompt.

    Args:
        duration: seconds.
        seed: None where it was not drawn yet.
        tempo: beats per minute; it, the metre, key and chords are unknown (None and ()) with models without plans.
        chords: the progression, once.
        scene: which sounds are heard when, with models that are told; None with others.
        unknown: words that say nothing to the model, as they were typed.
        notes: what is not done as the prompt says.
        suggestion: a model that knows some of the unknown words.
        read_as: what the model reads of a text in another language, or in words that it was not taught but is told
            with others (`rewording`), without what the plan says.
    """

    duration: float
    seed: int | None = None
    tempo: float | None = None
    beats_per_bar: int | None = None
    key: str | None = None
    chords: tuple[str, ...] = ()
    scene: Scene | None = None
    unknown: tuple[str, ...] = ()
    notes: tuple[PromptNote, ...] = ()
    suggestion: Suggestion | None = None
    read_as: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return itself as plain values for JSON."""
        plain = asdict(self)
        plain.update(
            chords=list(self.chords), unknown=list(self.unknown), notes=[asdict(n) for n in self.notes]
        )
        plain["scene"] = [] if self.scene is None else [asdict(event) for event in self.scene.events]
        if self.suggestion is not None:
            words = list(self.suggestion.words)
            plain["suggestion"] = {
                "model": self.suggestion.model,
                "words": words,
                "said": self.suggestion.said(),
            }
        return plain

    def line(self) -> str:
        """Return what is played, on one line: "10 s 80 bpm A minor Am F C G seed 7", and behind it what was
        understood of a text in another language."""
        parts = [
            f"{self.duration:g} s",
            self.tempo and f"{self.tempo:g} bpm",
            self.beats_per_bar not in (None, 4) and f"{self.beats_per_bar}/4",
            self.key,
            " ".join(self.chords),
            self.scene and scene_line(self.scene),
            None if self.seed is None else f"seed {self.seed}",
            self.read_as and f"understood: {self.read_as}",
        ]
        return "  ".join(part for part in parts if part)

    def remarks(self, model: str, *, option: str = "") -> tuple[str, ...]:
        """Return what somebody should know who hears another thing than they asked for, a sentence each.

        Args:
            model: what the model is called.
            option: see `Suggestion.said`.
        """
        words = [f"{model} does not know: {', '.join(self.unknown)}"] if self.unknown else []
        if self.suggestion is not None:
            words.append(self.suggestion.said(option=option))
        return (*words, *(note.said for note in self.notes))


def understand(
    text: str | None,
    *,
    duration: float,
    seed: int | None = None,
    score: ScoreSettings = _NOTHING_SET,
    plan: ScorePlan | None = None,
    later: Sequence[str] = (),
    vocabulary: Vocabulary | None = None,
    others: Mapping[str, Vocabulary | None] | None = None,
) -> Understanding:
    """Return what becomes of a prompt.

    Args:
        text: the prompt at the beginning of the piece.
        score: what was said outright.
        plan: what was made of both; None where the model takes no plans.
        later: further texts of a schedule.
        vocabulary: of the model; None for one that was taught with any text.
        others: vocabularies of models that could be used instead, by name.
    """
    said = [translate(one) for one in (text or "", *later)]
    texts = tuple(one.text for one in said)
    told = read(texts[0])
    notes = [] if plan is None else [*told.notes, *_overruled(told, score), *_moved(told, score, plan)]
    notes += _of_length(told, duration)
    unread = () if vocabulary is None else _unknown(texts, vocabulary, has_plan=plan is not None)
    unknown = unread if vocabulary is None else _as_typed(unread, said, vocabulary)
    suggestion = _suggestion(texts, unread, others or {}, said)
    if vocabulary is not None and unknown and suggestion is None and not _knows_any(texts, unread):
        notes.append(_nothing_known(text or "", vocabulary))
    return Understanding(
        duration=duration,
        seed=seed,
        tempo=None if plan is None else plan.tempo,
        beats_per_bar=None if plan is None else plan.beats_per_bar,
        key=None if plan is None else plan.key,
        chords=() if plan is None else progression_of(plan),
        unknown=unknown,
        notes=tuple(notes),
        suggestion=suggestion,
        read_as=""
        if vocabulary is None
        else _read_as(said[0], unread, vocabulary, has_plan=plan is not None),
    )


def understand_sounds(
    text: str | None,
    kinds: SoundKinds | None,
    *,
    duration: float,
    seed: int | None,
    schedule: Sequence[tuple[float, str]] = (),
    known: float = 0.0,
    **told: Any,
) -> Understanding:
    """Return what becomes of a prompt that a model may also be told as a scene.

    Args:
        kinds: that the model is told frame by frame; None where it is told none.
        schedule: (second, text) of further texts, in ascending order.
        known: seconds that are continued.
        told: what else `understand` wants.
    """
    later = [said for _, said in schedule]
    if kinds is None:
        return understand(text, duration=duration, seed=seed, later=later, **told)
    starts = [0.0, *(second for second, _ in schedule)]
    readings = [
        read_scene(one, kinds, duration=duration, seed=seed or 0, start=start, end=end, known=known)
        for one, start, end in zip((text, *later), starts, (*starts[1:], duration), strict=True)
    ]
    events = tuple(event for one in readings if one.scene is not None for event in one.scene.events)
    scene = Scene(events=events, start=0.0, duration=duration) if events else None
    # Times that a scene heeds are no words that a model does not know.
    plain = without_scene(text or ""), [without_scene(said) for said in later]
    found = understand(plain[0], duration=duration, seed=seed, later=plain[1], **told)
    unkept = [said for one in readings for said in one.unkept]
    if scene is None and unkept:
        unkept[-1] += "; the piece is made of the words alone"
    notes = (PromptNote(what="length", value=said.partition(":")[0], said=said) for said in unkept)
    found = replace(found, notes=(*found.notes, *notes))
    return replace(found, scene=scene)


def _read_as(said: Translation, unread: Sequence[str], vocabulary: Vocabulary, *, has_plan: bool) -> str:
    """Return what the model reads of a text in another language, or in words that it is told with others."""
    rest = _unread(read(said.text)) if has_plan else said.text
    reworded = reword(rest, vocabulary)
    if not said.languages and not reworded.parts:
        return ""
    strange = _content_of_all(unread)
    clauses = []
    for clause in re.split(r"[,.;:!?]", model_words(reworded.text)):
        kept = [word for word in clause.split() if not strange.intersection(words_of(word))]
        while kept and kept[-1].lower() in STOP_WORDS:
            kept.pop()
        if kept:
            clauses.append(" ".join(kept))
    return ", ".join(clauses)


def _as_typed(unread: Sequence[str], said: Sequence[Translation], vocabulary: Vocabulary) -> tuple[str, ...]:
    """Unknown words as people typed them; a phrase of which the model knows a part is known."""
    typed: dict[str, str | None] = {}
    for piece in (piece for one in said for piece in one.pieces):
        strange = [word for word in unread if set(words_of(word)) & set(words_of(piece.words or ""))]
        known = bool(content_of(piece.words or "") - _content_of_all(unread)) or not vocabulary.unknown(
            piece.typed
        )
        typed.update(dict.fromkeys(strange, None if known else piece.typed))
    return tuple(dict.fromkeys(word for word in (typed.get(one, one) for one in unread) if word is not None))


def _unknown(texts: Sequence[str], vocabulary: Vocabulary, *, has_plan: bool) -> tuple[str, ...]:
    """Return the words that neither the model nor, where there is one, the plan heeds."""
    rests = [_unread(read(text)) for text in texts] if has_plan else texts
    told = [reword(rest, vocabulary).text for rest in rests]
    found = dict.fromkeys(word for rest in told for word in vocabulary.unknown(rest))
    told_otherwise = _OF_PLANS | _DENYING if has_plan else _DENYING
    return tuple(word for word in found if not told_otherwise.issuperset(words_of(word)))


def _knows_any(texts: Sequence[str], unknown: Sequence[str]) -> bool:
    return any(content_of(text) - _content_of_all(unknown) for text in texts)


def _unread(told: Reading) -> str:
    """Return the rest of a text, without what its notes name already."""
    rest = told.rest
    for note in told.notes:
        rest = rest.replace(note.value, " ")
    return rest


def _content_of_all(words: Iterable[str]) -> frozenset[str]:
    return frozenset(part for word in words for part in words_of(word))


def _overruled(told: Reading, score: ScoreSettings) -> list[PromptNote]:
    """Return what the text says otherwise than the settings."""
    tempo = told.tempo and f"{told.tempo:g} bpm", score.tempo and f"{score.tempo:g} bpm"
    key = told.key and told.key.name, score.key and parse_key(score.key).name
    chords = (
        " ".join(told.chords),
        " ".join(symbols_of(score.chords and parse_progression(" ".join(score.chords)))),
    )
    metre = (
        told.beats_per_bar and f"{told.beats_per_bar}/4",
        score.beats_per_bar and f"{score.beats_per_bar}/4",
    )
    pairs = (("tempo", *tempo), ("key", *key), ("chords", *chords), ("metre", *metre))
    return [
        PromptNote(
            what=what, value=said, said=f"{said} in the prompt gives way to the {what} that was set, {wanted}"
        )
        for what, said, wanted in pairs
        if said and wanted and said != wanted
    ]


def _moved(told: Reading, score: ScoreSettings, plan: ScorePlan) -> list[PromptNote]:
    """Return a tempo that the models reach only at double or half speed."""
    wanted = score.tempo or told.tempo
    moved = wanted is not None and abs(reachable(wanted) - wanted) > 1e-6
    if wanted is None or not moved or abs(reachable(wanted) - plan.tempo) > 1e-6:
        return []
    value = f"{wanted:g} bpm"
    said = (
        f"{value} is played as {plan.tempo:g} bpm, the same pulse: tempi are {SLOWEST:g} to {FASTEST:g} bpm"
    )
    return [PromptNote(what="tempo", value=value, said=said)]


def _of_length(told: Reading, duration: float) -> list[PromptNote]:
    if told.seconds is None or abs(told.seconds[1] - duration) < 0.5:
        return []
    value = told.seconds[0]
    said = f"{value} in the prompt sets no length: the duration does, {duration:g} s"
    return [PromptNote(what="length", value=value, said=said)]


def _nothing_known(text: str, vocabulary: Vocabulary) -> PromptNote:
    terms = [next(iter(terms)) for terms in vocabulary.groups.values() if terms]
    terms += [term for term in vocabulary.terms if term not in terms]
    said = f"no word of the prompt is known: the model was taught English words such as {', '.join(terms[:_FEW])}"
    return PromptNote(what="words", value=text, said=said)


def _suggestion(
    texts: Sequence[str],
    unknown: Sequence[str],
    others: Mapping[str, Vocabulary | None],
    said: Sequence[Translation],
) -> Suggestion | None:
    """Return the model that knows most of what this one does not; its words are told as they were typed."""
    missing, best = _content_of_all(unknown), None
    for name, vocabulary in others.items():
        if vocabulary is None or not missing:
            continue
        named = [term for text in texts for term in vocabulary.named_in(text)]
        told = _content_of_all(part.typed for text in texts for part in reword(text, vocabulary).parts)
        words = tuple(
            word
            for word in unknown
            if content_of(word) & told or any(content_of(word) & _ways(vocabulary, term) for term in named)
        )
        if words and (best is None or len(words) > len(best.words)):
            best = Suggestion(model=name, words=_as_typed(words, said, Vocabulary({})))
    return best


def _ways(vocabulary: Vocabulary, term: str) -> frozenset[str]:
    """Return every word that a term is told with."""
    for terms in vocabulary.groups.values():
        if term in terms:
            return frozenset().union(*(content_of(way) for way in (term, *terms[term])))
    return frozenset()
