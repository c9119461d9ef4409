"""The inventory of what is served: Python packages, libraries in the jar, the Java runtime, known weaknesses."""
