"""Pure core: contracts and arithmetic, no files, no network, no clock, no server."""
