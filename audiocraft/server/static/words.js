// Words: ideas to start from, and what a model says of the words it knows.

import { say } from "./language.js";

const IDEAS = {
  music: {
    "Calm piano": "Calm piano with strings, 80 bpm, A minor",
    "Lofi": "Lofi with electric piano, bass and drums, 78 bpm, F major",
    "Folk, four chords": "Happy folk with acoustic guitar and violin, 112 bpm, chords: G D Em C",
    "Rock": "Energetic rock with electric guitar, bass and drums, 140 bpm, E minor",
    "Jazz trio": "Jazz with piano, bass and drums, 120 bpm, Bb major",
    "Film": "Dark cinematic strings and choir, 70 bpm, D minor",
    "Music box": "Dreamy music box waltz in C major, 96 bpm",
  },
  sound: {
    "Storm": "Rain and thunder rumbling", "Beach": "Waves on a beach", "Campfire": "A crackling fire and crickets at night",
    "Visitor": "A creaking door, then a dog barking", "Birds": "Birds singing", "Siren": "A police siren", "Clock": "A clock ticking",
  },
};

/** Songs to start from: the name of each section, and what it sounds like. */
export const IDEAS_OF_SONGS = {
  "Ballad": [["Verse", "Calm piano"], ["Chorus", "Piano, strings and drums"]],
  "Rock": [["Verse", "Electric guitar and bass"], ["Chorus", "Energetic rock with electric guitar and drums"]],
  "Lofi": [["Intro", "Electric piano"], ["Verse", "Lofi with electric piano, bass and drums"]],
};

const ABOUT = {
  music: "This model knows these words and no others. It takes tempo, key and chords from the prompt as well.",
  sound: "This model knows these sounds and no others, together or in turn: rain, then a dog; thunder at 3 s.",
};

export const TONICS = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"];

export const KEYS = TONICS.flatMap((tonic) => [`${tonic} major`, `${tonic} minor`]);

const RHYTHM = ["bass", "drums"]; // no melody alone

const pick = (list) => list[Math.floor(Math.random() * list.length)];

/** Short names and what they stand for. */
export const ideasFor = (kind) => Object.entries(IDEAS[kind]).map(([name, words]) => [name, say(words)]);

/** {about, groups: [name, words][]} of a model that was taught with certain words; null for one that takes free text. */
export const wordsOf = (model, kind) => (model?.vocabulary ? { about: ABOUT[kind], groups: Object.entries(model.vocabulary) } : null);

/** A prompt nobody wrote, of words that the model knows. */
export function surprise(kind, model) {
  const groups = model?.vocabulary;
  if (!groups) return say(pick(Object.values(IDEAS[kind])));
  if (kind === "sound" || !groups.Instruments) {
    const all = Object.values(groups).flat();
    const first = pick(all);
    return capital(Math.random() < 0.5 ? first : `${first} and ${pick(all.filter((one) => one !== first))}`);
  }
  const leads = groups.Instruments.filter((one) => !RHYTHM.includes(one));
  const lead = pick(leads);
  const manner = [groups.Moods, groups.Styles].filter(Boolean).map(pick).join(" ");
  const second = pick(groups.Instruments.filter((one) => one !== lead));
  return capital(`${manner} with ${lead} and ${second}, ${60 + 4 * Math.floor(Math.random() * 26)} bpm, ${pick(TONICS)} ${pick(["major", "minor"])}`);
}

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
