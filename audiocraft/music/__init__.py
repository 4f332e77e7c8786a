"""Music theory: chords, keys, and plans of tempo, bars and chords made from a text."""
