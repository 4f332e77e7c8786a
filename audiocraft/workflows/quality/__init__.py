"""As good as time allows: takes that are measured and ranked, and what a machine can make within a budget."""
