"""Jobs of several steps: plain functions that take models and return records. The command line and the server call them."""
