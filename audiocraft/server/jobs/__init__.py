"""Jobs and their audio, kept so that they survive a restart."""
