"""A seeded, endless corpus of captioned music and sound effects, made by rule; see docs/corpus.md."""
