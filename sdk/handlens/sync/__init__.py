"""Bringing a release to the device: verify, copy, apply in one transaction."""
