"""What people do to a piece: loops, endings, layers, other sounds, regions. Plain functions on audio and plans; each
says in its record what it did. Files and options are the command line's (`audiocraft edit`)."""
