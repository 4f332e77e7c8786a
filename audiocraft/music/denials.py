"""Where a text denies something, and what: "no drums, bass or strings", "don't use drums", "drumless", "not too fast".

Texts are English here, as `music.translating` writes them. A denial takes what is named directly behind it, and goes on
over "and", "or" and "nor"; over commas only where the list ends in one of them, because "no drums, piano" asks for a
piano.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from audiocraft.music.vocabulary import words_of

_USE = (
    r"(?:use|play|add|include|have|want|put|need|like|let|give|get|feature|bring|start|begin|make|sound|be|do|go)"
    r"(?:\s+(?:it|me|us|in|there|be|sound))*"
)
_DO_NOT = r"(?:do\s+not|don['’]?t|does\s+not|doesn['’]?t|should\s+not|shouldn['’]?t|must\s+not|mustn['’]?t|never|not)"
_LEAVE = r"(?:avoid(?:ing)?|skip|omit|exclud(?:e|ing)|leav(?:e|ing)\s+out|remov(?:e|ing))"
_MARKER = re.compile(
    # What is denied twice is asked for, and "not only" denies nothing.
    rf"(?P<asked>\b{_DO_NOT}\s+(?:forget|miss|without|be\s+without|{_LEAVE})\b"
    r"|\b(?:not\s+(?:only|just|until|till|before|yet)|no\s+(?:more\s+than|less|doubt|matter|problem)|why\s+not)\b)"
    rf"|(?P<weak>\b{_DO_NOT}\s+{_USE}\b|\b(?:not|never)\b|\b(?:lacking|minus|{_LEAVE})\b|\bnon-(?=[a-z]))"
    r"|\bneither\b|\b(?P<no>no)\b-?(?!\.?\s*\d)"
    r"|\bwithout\b|(?<![\w/])w/o\b|\bexcept(?:\s+for)?\b|\bfree\s+of\b|\b(?:instead|devoid)\s+of\b|\brather\s+than\b",
    re.IGNORECASE,
)
_LESS = re.compile(
    r"\b(?P<what>drum|bass|vocal|voice|guitar|piano|percussion|beat|string|synth|choir)(?:s?[- ]free|less)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[ \t]*(?P<word>[a-z][a-z'’]*(?:-[a-z]+)*)", re.IGNORECASE)
_JOINED = re.compile(
    r"\s*,?\s*(?P<how>\b(?:and|or|nor|n)\b|&|/)\s*(?:(?:no|not|without)\b\s*)?", re.IGNORECASE
)
_COMMA = re.compile(r"\s*,\s*")
_UNTIL = re.compile(
    r"\s*(?:(?P<how>until|till|before|for|after|from|at)\b(?:\s+the\s+first)?|(?:in|during)\s+the\s+first\b)\s*(?=\d)",
    re.IGNORECASE,
)
_NOT_UNTIL = re.compile(r"not\s+(?:until|till|before)\s+(?=\d)", re.IGNORECASE)
_TIME = re.compile(r"\d{1,5}(?::\d\d|[.,]\d+)?\s*[a-z]*", re.IGNORECASE)
_AT_ALL = re.compile(r"\s+(?:at\s+all|whatsoever|please)\b", re.IGNORECASE)

_ARTICLES = frozenset("a an the some any".split())
_AROUND = _ARTICLES | frozenset("too so very much more many of need use such overly really that all".split())
_ENDS = frozenset(
    "in at with but and or nor for on to only just no not without while over under then plus featuring that which "
    "when where whenever until till before after from is are be keep make play plays playing instead w if as by "
    "neither never minus except please during since".split()
)
# Whoever does one of these is not denied: "no drums and piano plays".
_DOES = frozenset(
    "play plays playing is are join joins enter enters come comes only instead alone solo sing sings".split()
)
_THINGS = frozenset(
    words_of(
        "piano pianos keyboard organ harpsichord celesta clavinet accordion harmonica guitar ukulele banjo "
        "mandolin harp sitar lute zither dulcimer koto bass bassline violin viola cello fiddle string brass "
        "horn trumpet trombone tuba flute clarinet oboe recorder piccolo whistle sax saxophone bassoon synth "
        "synthesizer pad marimba vibraphone xylophone kalimba glockenspiel bell chime choir vocal voice "
        "singer singing lyric drum rapping percussion snare kick cymbal hi-hat hihat clap beat orchestra "
        "woodwind ensemble theremin bongo conga tabla rain wind thunder storm wave sea stream river water "
        "fire bird cricket insect dog bark barking footstep door typing clock engine helicopter siren alarm "
        "whoosh explosion train car truck plane cow sheep horse lion monkey crow cat crowd applause speech "
        "talking people noise hiss laughter gunshot laser robot telephone"
    )
)
# What stands before the name of a thing and belongs to it; other words before it say what it is like.
_KINDS = frozenset(
    "electric acoustic nylon steel bass double upright synth synthesizer drum french grand slap string pipe church car "
    "lead lead-in male female human backing background pan hip trap snare kick hand baritone tenor alto soprano music "
    "distorted clean dog fire ship alarm".split()
)
# Behind the name of a thing, what belongs to it.
_TAILS = frozenset(
    words_of(
        "solo part sound kit machine track line riff section chord fill beat loop pad lead guitar drum singing barking "
        "bark clap horn whistle bell engine alarm ring siren quartet string synth bass music noise group player tone"
    )
)
_COMPOUNDS = frozenset(
    (
        "bass guitar, bass drum, drum beat, bass clarinet, synth bass, synth pad, synth string, synth drum, "
        "synth beat, car horn, car engine, car alarm, train horn, train whistle, fire alarm, door bell, "
        "dog bark, dog barking, hand clap, string synth, string bass, drum synth, drum clap, wind chime, "
        "string ensemble, drum percussion, choir voice, choir vocal, rain water, bell chime, brass horn, "
        "wind noise, crowd noise, people talking, clock alarm, drum bass, vocal choir, bass synth, "
        "crowd applause, crowd laughter, siren alarm, string orchestra, brass ensemble"
    ).split(", ")
)
_QUALITIES = frozenset(
    "sad happy calm dark fast slow loud quiet bright energetic soft heavy hard aggressive gentle dreamy tense romantic "
    "melancholic melancholy joyful cheerful peaceful relaxing relaxed warm cold playful uplifting epic scary ominous "
    "mysterious lively powerful driving quick upbeat gloomy moody spooky creepy eerie sombre somber lonely angry "
    "intense chaotic busy noisy distorted harsh cheesy boring nervous suspenseful ethereal floating tender major minor "
    "ambient lofi pop rock jazz classical electronic techno dance house folk country funk cinematic blues reggae metal "
    "punk disco trance trap waltz ballad lullaby march hectic frantic rapid slowly strong cheery funny depressing "
    "jazzy rocky funky high low long short".split()
)
_FEW = 4  # words before the name of what is denied
_LONGEST = 6  # words of something that no list here names


@dataclass(frozen=True, slots=True)
class Denial:
    """A denial is a part of a text that says what is not wanted.

    Args:
        start, end: where it stands.
        things: what it denies, each as it was said.
        until: "at" or "until" and a time, where what is named is not denied but comes then, or goes then.
        quality: whether it denies what something is like, not what is heard.
        said: the words.
    """

    start: int
    end: int
    things: tuple[str, ...] = ()
    until: str = ""
    quality: bool = False
    said: str = ""


@dataclass(frozen=True, slots=True)
class _Item:
    """This record holds what is denied as one: its words, and where they begin and end."""

    start: int
    end: int
    kind: str  # "thing", "quality" or "other"
    described: bool = False  # whether words before a thing say what it is like
    article: bool = False


def denials_in(text: str) -> list[Denial]:
    """Return what an English text denies, in its order; no two at one place."""
    found: list[Denial] = []
    place = 0
    while (mark := _MARKER.search(text, place)) is not None:
        place = mark.end()
        if mark["asked"] is not None:
            late = _NOT_UNTIL.match(text, mark.start())
            if late is not None:  # "drums, but not until 5 s"
                time = _TIME.match(text, late.end())
                assert time is not None, "a number follows"
                found.append(Denial(mark.start(), time.end(), until=f"at {time[0].strip()}"))
                place = time.end()
            continue
        one = _denied_behind(text, mark)
        if one is not None:
            found.append(one)
            place = one.end
    for match in _LESS.finditer(text):
        if all(match.end() <= one.start or match.start() >= one.end for one in found):
            found.append(Denial(*match.span(), (f"{_plural(match['what'].lower())}",), said=match[0]))
    return sorted(found, key=lambda one: one.start)


def _plural(word: str) -> str:
    if word == "beat":
        return "drums"
    return word if word in ("bass", "percussion", "piano", "choir") else f"{word}s"


def _denied_behind(text: str, mark: re.Match[str]) -> Denial | None:
    weak = mark["weak"] is not None
    first = _item(text, mark.end(), weak=weak)
    if first is None or (weak and first.kind == "other"):
        return None
    items = [first, *_listed(text, first, mark)]
    end = items[-1].end
    said = text[mark.start() : end].strip()
    things = tuple(text[one.start : one.end].strip() for one in items)
    denial = Denial(mark.start(), end, things, quality=first.kind == "quality", said=said)
    until = _UNTIL.match(text, end)
    if until is not None and first.kind == "thing":
        time = _TIME.match(text, until.end())
        how = (until["how"] or "until").lower()
        if time is not None and how != "at":
            when = "until" if how in ("after", "from") else "at"
            return replace(denial, end=time.end(), until=f"{when} {time[0].strip()}")
    tail = _AT_ALL.match(text, end)
    return denial if tail is None else replace(denial, end=tail.end())


def _listed(text: str, first: _Item, mark: re.Match[str]) -> list[_Item]:
    """Return the further items of a list whose first is denied."""
    kept: list[_Item] = []
    waiting: list[_Item] = []
    place = first.end
    while True:
        joined = _JOINED.match(text, place)
        gap = joined or _COMMA.match(text, place)
        item = _item(text, gap.end(), weak=True) if gap is not None else None
        if gap is None or item is None or (item.kind == "other" and not _may_be_other(first, joined)):
            return kept
        if joined is None:
            if item.kind == "other" or item.kind != first.kind or item.article > first.article:
                return kept
            waiting.append(item)
        elif not _goes_on(text, first, item, joined, mark, listed=bool(waiting)):
            return kept
        else:
            kept += [*waiting, item]
            waiting = []
        place = item.end


def _may_be_other(first: _Item, joined: re.Match[str] | None) -> bool:
    return joined is not None and (first.kind == "other" or joined["how"].lower() in ("or", "nor"))


def _goes_on(
    text: str, first: _Item, item: _Item, joined: re.Match[str], mark: re.Match[str], *, listed: bool
) -> bool:
    """Return whether a denial goes on over "and" or "or" to an item."""
    following = _WORD.match(text, item.end)
    if following is not None and following["word"].lower() in _DOES:
        return False
    if joined["how"].lower() in ("or", "nor"):
        return item.kind == first.kind or item.kind != "quality"
    if item.kind != first.kind or item.article > first.article:
        return False
    if following is not None and (item.kind == "quality" or following["word"].lower() not in _ENDS):
        return item.kind == "thing" and not listed and following["word"].lower() not in _DOES
    if mark["no"] is None:
        return True
    if item.described:
        return False  # "no drums and soft strings"
    # "No drums, piano and strings" asks for something; "violin, no drums, piano and strings" does so already.
    return not listed or _names_a_thing(text[: mark.start()]) or _names_a_thing(text[item.end :])


def _names_a_thing(text: str) -> bool:
    return (
        not _THINGS.isdisjoint(words_of(text))
        or re.search(r"\b(?:music|song|piece|tune)s?\b", text) is not None
    )


def _item(text: str, place: int, *, weak: bool) -> _Item | None:
    """Return what is named directly behind a place.

    Args:
        weak: what is like something is denied alone: "not sad piano" asks for a piano.
    """
    words = _words(text, place)
    article = False
    while words and words[0]["word"].lower() in _AROUND:
        article |= words[0]["word"].lower() in _ARTICLES - {"any"}
        words = words[1:]
    if not words:
        return None
    lower = [word["word"].lower() for word in words]
    start = words[0].start("word")
    last = next((at for at in range(min(_FEW, len(words))) if _is_thing(lower[at])), None)
    if lower[0] in _QUALITIES and (weak or last is None):
        count = next((at for at, word in enumerate(lower) if word not in _QUALITIES), len(lower))
        return _Item(start, words[count - 1].end(), "quality", article=article)
    if last is not None:
        described = any(word not in _KINDS and not _is_thing(word) for word in lower[:last])
        last = _with_what_belongs(lower, last)
        return _Item(start, words[last].end(), "thing", described, article)
    return _Item(start, words[min(len(words), _LONGEST) - 1].end(), "other", article=article)


def _with_what_belongs(lower: Sequence[str], last: int) -> int:
    """Return the last word of a thing: "bass guitar", "drum kit"."""
    while last + 1 < len(lower):
        word, following = words_of(lower[last])[-1], words_of(lower[last + 1])[-1]
        other_thing = _is_thing(lower[last + 1])
        if other_thing and f"{word} {following}" not in _COMPOUNDS:
            break
        if not other_thing and following not in _TAILS:
            break
        if not other_thing and last + 2 < len(lower) and _is_thing(lower[last + 2]):
            break  # "no drums solo piano"
        last += 1
    return last


def _is_thing(word: str) -> bool:
    return not _THINGS.isdisjoint(words_of(word)[-1:]) or word in ("keys", "hi-hats")


def _words(text: str, place: int) -> list[re.Match[str]]:
    """Return the words from a place on, up to what ends a denial."""
    found: list[re.Match[str]] = []
    while len(found) < _LONGEST + _FEW and (word := _WORD.match(text, place)) is not None:
        if word["word"].lower() in _ENDS:
            break
        found.append(word)
        place = word.end()
    return found


def ends_a_denial(word: str) -> bool:
    """Return whether a word cannot be part of what is denied, so that no comma need part it from that."""
    return word.lower() in _ENDS


__all__ = ["Denial", "denials_in", "ends_a_denial"]
