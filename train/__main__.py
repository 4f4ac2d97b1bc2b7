"""`python -m train`: the command line of `train.cli`."""

import sys

from bfm_assets import ModelFileError
from synergy.errors import UserError
from train.cli import main

try:
    main()
except (UserError, ModelFileError) as error:
    sys.exit(f"error: {error}")
