"""Training: one solver per task, composed of the same parts."""
