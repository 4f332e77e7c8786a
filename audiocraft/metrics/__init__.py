"""Measures of audio: tempo, key and the seams of long pieces."""
