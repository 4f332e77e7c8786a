"""Reports on a piece of audio: what it contains, how loud it is, and whether one of our models made it."""
