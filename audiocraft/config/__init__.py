"""Typed configuration: YAML for people, frozen dataclasses for code."""
