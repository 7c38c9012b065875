"""`python -m gptjax`: the command where nothing was installed, as in a folder that was copied to a machine."""

import sys

from gptjax.cli import main

sys.exit(main())
