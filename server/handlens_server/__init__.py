"""handlens_server: the full catalogue, and the releases that devices install."""
