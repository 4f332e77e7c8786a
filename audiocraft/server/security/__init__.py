"""Keys, guards against hostile requests, and the sandbox in which foreign audio is decoded."""
