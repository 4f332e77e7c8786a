"""The detector that tells clips from what models make, its calibration, and its notion of what it was trained on."""
