"""Records that device, server and workshop exchange, each class once.

Every record is a frozen dataclass with ``to_dict`` and ``from_dict``; bytes are made elsewhere. Fields that a reader
does not know are kept and written back, so an old device can carry a newer record; a major format it does not know is
refused.
"""
