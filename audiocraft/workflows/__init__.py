"""Jobs of several steps: plain functions that take models and return records. CLI and server call them."""
