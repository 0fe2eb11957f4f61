"""Check that a wheel holds nothing but the two packages, and that they import from outside the tree."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGES = ("fastnn", "fastnn_kernels")
CHECK = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
import fastnn, fastnn_kernels
for package in (fastnn, fastnn_kernels):
    assert pathlib.Path(package.__path__[0]).parent == pathlib.Path(sys.argv[1]), package.__path__
X, y = fastnn.data.digits()
from fastnn.bench import turns
assert turns.__file__.startswith(sys.argv[1])
print("wheel imports:", fastnn.MLP([64, 10], output="softmax"), X.shape)
"""


def main(wheel: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        strangers = [n for n in names if n.split("/")[0] not in PACKAGES and ".dist-info/" not in n]
        assert not strangers, f"the wheel holds more than the two packages: {strangers}"
        missing = [f"{package}/py.typed" for package in PACKAGES if f"{package}/py.typed" not in names]
        assert not missing, f"the wheel lacks {missing}"
        with tempfile.TemporaryDirectory() as outside:
            archive.extractall(outside)
            subprocess.run([sys.executable, "-c", CHECK, str(Path(outside).resolve())], cwd=outside, check=True)


if __name__ == "__main__":
    main(sys.argv[1])
