"""A parametric hand, rendered as depth cameras see it: sizes, poses, contact, ray casting, sensors and scenes."""

import hashlib
import os
from pathlib import Path

from numba.core import config

if not os.environ.get("NUMBA_CACHE_DIR"):
    # numba compiles a function anew when its own file changes, not when a function that it calls does: kernels are
    # cached in a folder named after the sources of all of them
    _here = Path(__file__).parent
    _sources = b"".join(path.read_bytes() for path in sorted(_here.glob("*.py")))
    _folder = f"kernels-{hashlib.sha256(_sources).hexdigest()[:12]}"
    setattr(config, "CACHE_DIR", str(_here / "__pycache__" / _folder))  # noqa: B010 - numba makes its fields at run time
