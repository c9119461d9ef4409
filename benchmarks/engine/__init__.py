"""The engine by itself: contenders, the machine's ceilings, interleaved rounds, memory, and the report of them."""
