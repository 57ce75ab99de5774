"""`python -m serving` is `python -m serving.app`."""

import sys

from serving.app import main

sys.exit(main())
