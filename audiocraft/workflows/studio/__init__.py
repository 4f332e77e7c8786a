"""Jobs of several pieces of music and sound that belong together."""
