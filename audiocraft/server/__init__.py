"""The HTTP server: jobs that survive restarts, audio while it is made, limits. `create_app` is in `server.app`."""
