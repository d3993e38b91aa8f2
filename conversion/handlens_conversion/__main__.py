"""``python -m handlens_conversion`` is ``handlens-convert``."""

from __future__ import annotations

from handlens_conversion.cli import main

if __name__ == "__main__":
    main(prog_name="handlens-convert")
