"""What operators need: health, metrics, logs and cleaning up."""
