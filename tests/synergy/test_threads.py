import os
import subprocess
import sys

import pytest

from synergy.threads import available_cores

# The sums of small integers are exact, whatever the number of threads is.
FORK = """
import os, torch
import synergy.models
torch.set_num_threads(2)
numbers = torch.arange(4_000_000) % 7
total = int((numbers + 1).sum())
if (child := os.fork()) == 0:
    print("child", torch.get_num_threads(), int((numbers + 1).sum()) == total, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print("parent", torch.get_num_threads())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork processes")
def test_torch_computes_in_a_forked_process_although_its_parent_used_threads():
    result = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=120, check=False)
    assert (result.stdout, result.returncode) == ("child 1 True\nparent 2\n", 0), result.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no processor affinity")
def test_only_cores_that_the_process_may_use_count():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from synergy.threads import *; "
    result = subprocess.run([sys.executable, "-c", code + "print(available_cores())"], capture_output=True, text=True)
    assert result.stdout == "1\n"
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
