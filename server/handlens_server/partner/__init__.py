"""The partner endpoint: the contract, who may use it, and what keeps it steady."""
