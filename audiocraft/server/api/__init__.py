"""Routes, what they take and what they answer."""
