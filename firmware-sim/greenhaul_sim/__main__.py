"""`python -m greenhaul_sim` is greenhaul-sim."""

import sys

from greenhaul_sim.main import main

sys.exit(main())
