"""gdfast's own times from commit to commit, for airspeed velocity: `make asv COMMITS="v0.1.0..HEAD"`.

asv builds and installs each commit in an environment of its own, and times it with the suite as it is now.
"""

import sys
from pathlib import Path

# At the end, so that gdfast is the installed one; only `benchmarks` is found there.
sys.path.append(str(Path(__file__).parents[2]))
