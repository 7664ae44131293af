"""What cannot be collected where an optional library is not installed."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") else ["gdfast/torch/*"]
