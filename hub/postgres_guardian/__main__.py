"""The guardian's program: `python -P <this file> <data directory> <descriptor of the start lock>`.

Started by path and not with -m, so that it is the guardian of this hub, whichever other hub Python would find. -P keeps
this folder off its sys.path.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from hub.postgres_guardian.guard import main

    sys.path.pop(0)
    main()
