"""What a folder of audio is like, and how far it is from another: `pieces` finds the files and what they were asked
to be, `listening` measures each, `figures` makes one table of all, `gate` compares it with an earlier one, `page`
shows it."""
