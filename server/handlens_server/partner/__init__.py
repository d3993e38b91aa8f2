"""The partner endpoint: what a phone maker's camera calls, under ``/partner/v1``.

The contract (``contract/v1.yaml``) is the source: requests are checked by it, and tests check every answer by it.
"""
