"""The inference engine: it shares models among requests from many threads."""
