"""Speed and memory of models on this machine, beside named baselines."""
