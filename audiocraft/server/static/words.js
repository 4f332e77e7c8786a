// Words: ideas to start from, and everything the bundled models understand. The tests compare the lists with the tables
// that the models' training music was made from.

const VOCABULARY = {
  music: {
    Instruments: ["piano", "electric piano", "organ", "acoustic guitar", "electric guitar", "violin", "strings", "flute", "saxophone", "trumpet", "synth pad", "synth lead", "marimba", "music box", "choir", "bass", "drums"],
    Styles: ["ambient", "lofi", "pop", "rock", "jazz", "classical", "electronic", "folk", "funk", "cinematic"],
    Moods: ["calm", "happy", "sad", "energetic", "dark", "dreamy", "tense", "romantic"],
  },
  sound: {
    Nature: ["rain", "wind", "thunder", "ocean waves", "a stream", "dripping water", "a crackling fire", "birds singing", "crickets", "a dog barking"],
    "People and places": ["footsteps", "a door slamming", "typing", "a clock ticking", "a church bell"],
    "Machines and noise": ["an engine", "a helicopter", "a siren", "an alarm", "a whoosh", "an explosion"],
  },
};

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
    "Footsteps": "Footsteps and a creaking door", "Birds": "Birds singing", "Siren": "A police siren", "Clock": "A clock ticking",
  },
};

const ABOUT = {
  music: "A small model, taught on two processor cores with music that a program composed: in time and in tune, not like a record. It takes tempo, key and chords from the prompt, and knows these words and no others.",
  sound: "A small model that knows 21 kinds of sound, alone or in pairs, and no others. The order of the words makes no difference to it.",
};

export const TONICS = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"];

const pick = (list) => list[Math.floor(Math.random() * list.length)];

/** Short names and what they stand for. */
export const ideasFor = (kind) => Object.entries(IDEAS[kind]);

/** {about, groups} of a bundled model; null for one that was taught with free text. */
export function wordsOf(model, kind) {
  return model?.id.endsWith("-nano") ? { about: ABOUT[kind], groups: Object.entries(VOCABULARY[kind]) } : null;
}

/** A prompt nobody wrote. */
export function surprise(kind) {
  if (kind === "sound") {
    const all = Object.values(VOCABULARY.sound).flat();
    const first = pick(all);
    return capital(Math.random() < 0.5 ? first : `${first} and ${pick(all.filter((one) => one !== first))}`);
  }
  const { Instruments, Styles, Moods } = VOCABULARY.music;
  const lead = pick(Instruments.slice(0, -2));
  const second = pick(Instruments.filter((one) => one !== lead));
  return capital(`${pick(Moods)} ${pick(Styles)} with ${lead} and ${second}, ${60 + 4 * Math.floor(Math.random() * 26)} bpm, ${pick(TONICS)} ${pick(["major", "minor"])}`);
}

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
