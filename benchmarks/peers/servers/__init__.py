"""What a competent user writes from each project's own pages to serve a ``transformers`` checkpoint."""
