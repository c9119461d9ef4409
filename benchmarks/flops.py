"""Floating-point operations that the algebra of the exported graph needs, from the configuration."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import LongformerConfig


@dataclass(frozen=True)
class ModelShape:
    """What the count depends on; ``windows`` are one-sided, one for each layer."""

    hidden: int
    intermediate: int
    heads: int
    windows: tuple[int, ...]

    @classmethod
    def of(cls, config: LongformerConfig) -> ModelShape:
        """Return the shape of a configuration."""
        stated = config.attention_window
        windows = stated if isinstance(stated, list) else [stated] * config.num_hidden_layers
        return cls(
            config.hidden_size,
            config.intermediate_size,
            config.num_attention_heads,
            tuple(window // 2 for window in windows),
        )


def needed_flops(shape: ModelShape, length: int) -> float:
    """Count multiplications and additions of the matrix products for one text of ``length`` tokens.

    Only what the result depends on is counted (DESIGN section 3): for every layer but the last,
    four hidden x hidden products and the feed-forward network for each token, and two products
    with each key in reach (the window and CLS); for every layer the CLS token's own attention;
    for the last layer the feed-forward network of CLS alone. What an implementation computes
    beyond that, such as masked keys of a block, counts as time but not as work.
    """
    d, f = shape.hidden, shape.intermediate
    feed_forward = 4 * d * f
    cls_attention = 8 * d * d + 4 * length * d * shape.heads  # q, K^T q, V, output; scores and mixture
    total = 0.0
    for window in shape.windows[:-1]:
        total += length * (8 * d * d + feed_forward) + 4 * d * keys_in_reach(length, window) + cls_attention
    return total + cls_attention + feed_forward


def keys_in_reach(length: int, window: int) -> int:
    """Count (query, key) pairs: keys at most ``window`` away, and CLS where it is further."""
    reach = min(window, length - 1)
    local = length * (2 * reach + 1) - reach * (reach + 1)
    return local + max(0, length - 1 - window)
