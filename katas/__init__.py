"""The stubs. Imported, `katas` holds your answers, or the files of the folder that KATAS_DIR names.

So `from katas.ddpm import q_sample` in a notebook is your code, without pytest too.
"""

import os
import sys
from pathlib import Path

from dojo.core.answers import prepare
from dojo.core.paths import Checkout

if not os.environ.get("KATAS_DIR"):
    checkout = Checkout(Path(__file__).resolve().parents[1])
    prepare(checkout)
    os.environ["KATAS_DIR"] = str(checkout.answers)

from dojo.engine.switch import katas  # it reads KATAS_DIR

sys.modules[__name__] = katas
