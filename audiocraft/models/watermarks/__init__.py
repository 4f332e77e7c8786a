"""Networks that put an inaudible mark into audio, and find it again."""
