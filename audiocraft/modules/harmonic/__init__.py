"""A spectral encoder and a decoder of oscillators and noise, which share one scale of tones."""
