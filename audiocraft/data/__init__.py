"""Audio files and data sets: reading, writing, converting, and choosing what to train on."""
