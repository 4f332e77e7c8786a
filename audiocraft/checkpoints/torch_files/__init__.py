"""Files that torch wrote, read without running what is inside."""
