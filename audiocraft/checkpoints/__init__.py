"""Many weight formats at the door, one record inside."""
