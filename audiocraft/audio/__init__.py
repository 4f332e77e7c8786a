"""Audio files, encoders, conversion, loudness and pictures of sound: everything about audio that knows no model."""
