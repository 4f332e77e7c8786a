"""`uvicorn api.main:app --host 0.0.0.0 --port 8000`: the server with settings from AUDIOCRAFT_* variables.

How uvicorn listens is not known here, so a key is asked for: set AUDIOCRAFT_API_KEY, or AUDIOCRAFT_REQUIRE_KEY=0 where
nobody else can reach the port.
"""

from __future__ import annotations

import os

from audiocraft.config.serving import ServingConfig
from audiocraft.server.app import create_app
from audiocraft.server.services import engine_of

config = ServingConfig.from_environment({"AUDIOCRAFT_REQUIRE_KEY": "1", **os.environ})
app = create_app(engine_of(config), config)
