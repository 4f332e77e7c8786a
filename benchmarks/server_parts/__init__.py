"""Parts of the measurements of the server."""
