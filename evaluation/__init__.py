"""How good a bundle is on labelled texts, served as it is served: one page, and the same figures as JSON.

``evaluate`` is the flow; ``statistics`` and ``resampling`` are the arithmetic, ``figures`` puts them
together, ``report`` is their shape, ``plots``, ``words`` and ``page`` make them readable.
"""
