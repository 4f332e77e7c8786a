"""The process that makes audio, and how the front process talks to it."""
