"""What our collections on a Milvus server look like, and how one is made."""

from __future__ import annotations

from typing import Any

from handlens_server.milvus_calls import MilvusCalls

__all__ = ["STATE", "create_collection", "state_row", "vector_dim"]

STATE = "#"  # the id of the row that says what a collection shows; those of parts begin with an item's id
M = 16  # links of a node, twice as many on the lowest layer; as in the process (`handlens.index.hnsw`)
EF_CONSTRUCTION = 200
_ID_BYTES = 900  # 200 characters, the most that an item id has, and the number of the part
_BOX_BYTES = 120


def create_collection(calls: MilvusCalls, name: str, *, dim: int) -> None:
    """Make an empty collection with its indexes, and load it. It takes some seconds.

    Raises:
        IndexUnavailableError: the server does not answer, or refuses.
    """
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=_ID_BYTES)
    schema.add_field("item_id", DataType.VARCHAR, max_length=_ID_BYTES)
    schema.add_field("sequence", DataType.INT64)
    schema.add_field("box", DataType.VARCHAR, max_length=_BOX_BYTES)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
    calls.call("create_collection", name, schema=schema, consistency_level="Session")
    graph = {"M": M, "efConstruction": EF_CONSTRUCTION}
    for field, index, settings in (
        ("vector", "HNSW", {"metric_type": "COSINE", "params": graph}),
        ("item_id", "Trie", {}),  # filters and changes look items up by it
    ):
        wanted = MilvusClient.prepare_index_params()
        wanted.add_index(field_name=field, index_type=index, **settings)
        calls.call("create_index", name, wanted)
    calls.call("load_collection", name)


def state_row(sequence: int, dim: int) -> dict[str, Any]:
    """The row that says up to which number of the catalogue a collection shows all changes."""
    return {"id": STATE, "item_id": "", "sequence": sequence, "box": "", "vector": [1.0] + [0.0] * (dim - 1)}


def vector_dim(described: dict[str, Any]) -> int:
    """The length of the vectors of a collection, from what Milvus says of it."""
    fields = {one["name"]: one for one in described["fields"]}
    return int(fields["vector"]["params"]["dim"])
