"""Networks of other projects with their own checkpoints: SynergyNet and 3DDFA_V2."""

from synergy.compat.synergynet import load_synergynet
from synergy.compat.tddfa_v2 import load_tddfa_v2

__all__ = ["load_synergynet", "load_tddfa_v2"]
