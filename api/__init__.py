"""The place where containers and `uvicorn api.main:app` look for the application."""
