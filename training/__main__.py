"""``python -m training``: fine-tune a checkpoint of yours, or make the embedded one and its card.

python -m training fit --labelled labelled=own.csv --out my-checkpoint
python -m training small --out export/checkpoints/small
"""

from __future__ import annotations

import os

# Threads that wait must sleep: spinning ones starve each other where the cores are shared with
# other work, where a step was seen to take more than ten times as long. OpenMP reads this once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import sys

from training.cli import main

sys.exit(main())
