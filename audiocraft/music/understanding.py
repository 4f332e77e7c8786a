"""What was understood of a prompt: what will be played, which words say nothing to the model, and what cannot be."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from audiocraft.music.denials import Denial, denials_in
from audiocraft.music.denying import plainly, timed
from audiocraft.music.harmony import parse_key
from audiocraft.music.planning import (
    FASTEST,
    PLAN_WORDS,
    SLOWEST,
    ScoreSettings,
    plans_over_time,
    progression_of,
    reachable,
)
from audiocraft.music.progressions import parse_progression, symbols_of
from audiocraft.music.reading import PromptNote, Reading, read
from audiocraft.music.rewording import reword
from audiocraft.music.scenes import SceneReading, has_times, read_piece, scene_line, without_scene
from audiocraft.music.sound_kinds import SoundKinds
from audiocraft.music.translating import Translation, model_words, translate
from audiocraft.music.vocabulary import STOP_WORDS, Vocabulary, content_of, words_of
from audiocraft.types import Scene, ScorePlan

# Words about the plan itself, which the rules read or which say nothing more.
_OF_PLANS = PLAN_WORDS | frozenset("bpm beat per minute tempo key chord progression".split())
_DENYING = frozenset("no without minus except".split())  # guidance leads away from what follows
_OF_ORDER = frozenset("then afterwards finally followed after before silence".split())  # which a scene heeds
_NOTHING_SET = ScoreSettings()
# Whoever says one of these means music, whatever else they name: "wind instruments", "a song about a dog".
_OF_MUSIC = frozenset(
    "band beat instrument instrumental melody music orchestra song soundtrack theme tune".split()
)
_FEW = 5  # words that stand for a vocabulary


@dataclass(frozen=True, kw_only=True, slots=True)
class Suggestion:
    """A suggestion names another model, which knows words of the prompt that the chosen one does not.

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
    """This record holds what was understood of one prompt.

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
        denied: what the prompt says that it should not be.
        changes: what later texts change of tempo, metre and key, a line each: "from 2 s: 150 bpm, C major".
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
    denied: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return itself as plain values for JSON."""
        plain = asdict(self)
        plain.update(
            chords=list(self.chords), unknown=list(self.unknown), notes=[asdict(n) for n in self.notes],
            denied=list(self.denied), changes=list(self.changes),
        )  # fmt: skip
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
            *self.changes,
            # The words of a piece of music say who plays; their times, where there are any, are said here.
            self.scene and (self.tempo is None or has_times(self.scene)) and scene_line(self.scene),
            None if self.seed is None else f"seed {self.seed}",
            self.read_as and f"understood: {self.read_as}",
            self._said_of_denied(),
        ]
        return "  ".join(part for part in parts if part)

    def _said_of_denied(self) -> str:
        """Return what is denied, where the words that were understood do not say it."""
        said = self.read_as.lower()
        missing = [one for one in self.denied if f"no {one.lower()}" not in said]
        told = said.count("no ") >= len(self.denied)  # or says it in other words
        return f"without {', '.join(missing)}" if missing and not told else ""

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
    found = [translate(one) for one in (text or "", *later)]
    said = [replace(one, text=plainly(one.text)) for one in found]
    texts = tuple(one.text for one in said)
    told = read(texts[0])
    notes = [] if plan is None else [*told.notes, *_overruled(told, score), *_moved(told, score, plan)]
    notes += _of_length(told, duration)
    denials = denials_in(found[0].text)
    if plan is not None and (told.tempo is None or told.key is None):
        notes += [_denied_quality(one) for one in denials if one.quality and PLAN_WORDS & set(one.things)]
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
        denied=tuple(dict.fromkeys(thing for one in denials if not one.until for thing in one.things)),
        read_as=""
        if vocabulary is None
        else _read_as(said[0], unread, vocabulary, has_plan=plan is not None),
    )


def meant_for(
    text: str, vocabulary: Vocabulary, others: Mapping[str, Vocabulary | None]
) -> Suggestion | None:
    """Return another model and the words that it knows, where a text is plainly meant for it; None elsewhere.

    The other knows kinds of sound that the text names, and either the given model knows none of the words or the other
    knows them all. A text that says a tempo, a key, chords or a metre, or that names music, is meant for the given
    model.

    Args:
        vocabulary: of the given model, which takes plans.
        others: vocabularies of the other models by name.
    """
    said = translate(without_scene(text))  # times say nothing of what makes a sound
    said = replace(said, text=plainly(said.text))
    told = read(said.text)
    words = content_of(said.text)
    if told.tempo or told.key or told.chords or told.beats_per_bar or words & (_OF_MUSIC | _DENYING):
        return None
    unread = _unknown((said.text,), vocabulary, has_plan=True)
    knows_none = not _knows_any((told.rest,), unread)
    for name, other in others.items():
        if other is None or not unread or not any(other.named_in(reword(said.text, other).text)):
            continue
        if knows_none or not _unknown((told.rest,), other, has_plan=False):
            return _suggestion((said.text,), unread, {name: other}, (said,))
    return None


def understand_sounds(
    text: str | None,
    kinds: SoundKinds | None,
    *,
    duration: float,
    seed: int | None,
    schedule: Sequence[tuple[float, str]] = (),
    known: float = 0.0,
    scene: Scene | None = None,
    **told: Any,
) -> Understanding:
    """Return what becomes of a prompt that a model may also be told as a scene.

    Args:
        kinds: that the model is told frame by frame; None where it is told none.
        schedule: (second, text) of further texts, in ascending order.
        known: seconds that are continued.
        scene: what was said of sounds outright; None reads it from the texts.
        told: what else `understand` wants.
    """
    later = [said for _, said in schedule]
    if kinds is None:
        found = understand(text, duration=duration, seed=seed, later=later, **told)
        return _changing(found, text or "", schedule, **told)
    heard = SceneReading(scene)
    if scene is None:
        heard = read_piece(((0.0, text), *schedule), kinds, duration=duration, seed=seed or 0, known=known)
    # Times that a scene heeds are no words that a model does not know.
    plain = without_scene(timed(text or "")), [without_scene(timed(said)) for said in later]
    found = understand(plain[0], duration=duration, seed=seed, later=plain[1], **told)
    found = _changing(found, text or "", schedule, **told)
    unkept = list(heard.unkept)
    if heard.scene is None and unkept:
        unkept[-1] += "; the piece is made of the words alone"
    notes = (PromptNote(what="length", value=said.partition(":")[0], said=said) for said in unkept)
    found = replace(found, notes=(*found.notes, *notes))
    if heard.scene is not None:
        found = _in_order(found)
    return replace(found, scene=heard.scene)


def led_away(found: Understanding, negative: str | None, vocabulary: Vocabulary | None) -> Understanding:
    """Return what was understood of a prompt, with what guidance is asked to lead away from: what of it the model
    knows is denied, and words that say nothing to it are unknown as those of the prompt are.

    Args:
        negative: parts between commas, each something that the piece should not be.
        vocabulary: of the model; None for one that was taught with any text.
    """
    parts = [part.strip() for part in re.split(r"[,;、，]", negative or "") if part.strip()]
    strange: list[str] = []
    denied: list[str] = []
    for part in parts:
        said = translate(part)
        unread = () if vocabulary is None else _unknown((said.text,), vocabulary, has_plan=False)
        if vocabulary is not None:
            strange += _as_typed(unread, (said,), vocabulary)
        if _knows_any((said.text,), unread):
            denied.append(part)
    return replace(
        found,
        unknown=tuple(dict.fromkeys((*found.unknown, *strange))),
        denied=tuple(dict.fromkeys((*found.denied, *denied))),
    )


def _changing(
    found: Understanding,
    text: str,
    schedule: Sequence[tuple[float, str]],
    *,
    plan: ScorePlan | None = None,
    score: ScoreSettings = _NOTHING_SET,
    **_: Any,
) -> Understanding:
    """Return what was understood, with what later texts change of the plan, and what they say that cannot be."""
    if plan is None or not schedule:
        return found
    own = [(second, _own_words(said, text)) for second, said in schedule]
    plans = plans_over_time(
        plan, ((0.0, ""), *own), duration=found.duration, seed=found.seed or 0, score=score
    )
    changes: list[str] = []
    for (second, _said), before, after in zip(own, plans, plans[1:], strict=False):
        if before is None or after is None:
            continue
        parts = [f"{after.tempo:g} bpm"] if after.tempo != before.tempo else []
        parts += [f"{after.beats_per_bar}/4"] if after.beats_per_bar != before.beats_per_bar else []
        parts += [after.key] if after.key is not None and after.key != before.key else []
        changes += [f"from {second:g} s: {', '.join(parts)}"] if parts else []
    told = [read(translate(said).text) for _, said in own]
    notes = [note for one in told for note in (*one.notes, *_overruled(one, score))]
    return replace(found, changes=tuple(changes), notes=tuple(dict.fromkeys((*found.notes, *notes))))


def _own_words(said: str, first: str) -> str:
    """Return what a later text says beside what both begin with: the words of the whole piece."""
    parts, others = said.split(", "), first.split(", ")
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(parts, others, strict=False))
    return ", ".join(parts[len(list(same)) :])


def _in_order(found: Understanding) -> Understanding:
    """Return what was understood of a text whose order a scene heeds."""

    def rest(words: Sequence[str]) -> tuple[str, ...]:
        return tuple(word for word in words if not _OF_ORDER.issuperset(words_of(translate(word).text)))

    other = found.suggestion
    if other is not None:
        words = rest(other.words)
        other = replace(other, words=words) if words else None
    return replace(found, unknown=rest(found.unknown), suggestion=other)


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
        while kept and kept[-1].lower() in STOP_WORDS | {"no"}:
            kept.pop()
        if not _OF_ORDER.issuperset(words_of(" ".join(kept))):
            clauses.append(" ".join(kept))
    return ", ".join(dict.fromkeys(clauses))


def _as_typed(unread: Sequence[str], said: Sequence[Translation], vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return unknown words as people typed them; a phrase of which the model knows a part is known."""
    typed: dict[str, str | None] = {}
    unread_words = _content_of_all(unread)
    for piece in (piece for one in said for piece in one.pieces):
        strange = [word for word in unread if set(words_of(word)) & set(words_of(piece.words or ""))]
        known = bool(content_of(piece.words or "") - unread_words) or not vocabulary.unknown(piece.typed)
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


def _denied_quality(denial: Denial) -> PromptNote:
    words = ", ".join(denial.things)
    said = f"{denial.said}: {words} is left out of the words, and no tempo or key is chosen by it; name one, such as "
    return PromptNote(what="words", value=denial.said, said=said + "90 bpm or C major")


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
