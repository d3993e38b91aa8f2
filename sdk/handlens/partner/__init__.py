"""The conformance kit: a partner's own team proves that an endpoint keeps the contract (``handlens partner check``).

Rules:

1. It knows the contract (``contract-v1.json``, the bytes that it was released with) and nothing of the server's code.
2. It works with a test key only, writes into the sandbox only, and resets the sandbox when it begins and when it ends.
3. A check asks for one promise, names the clause that gives it, and keeps what was sent and seen, without secrets.
   What several promises could break is asked for by one check alone, so that a fault fails its own check.
4. Answers are open: whatever the contract does not know in them is ignored, as every client must.

The rooms, from the ground up: ``checking``, ``exchange``, ``contract`` and ``line``, ``access``, ``probe``, ``checks``,
``running``, ``reports``, ``console``. What the extra `partner` installs is imported where it is used.
"""
