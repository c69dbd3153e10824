"""Write THIRD_PARTY.md: what audiopatch stands on, with each part's licence, as the installed packages state them.

python scripts/third_party.py           # writes the file
python scripts/third_party.py --check   # exits with 1 where a package is missing from it, or states another licence
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "THIRD_PARTY.md"
NOT_SHIPPED = {"test", "integrations", "docs", "dev"}  # extras of this project's own development
NAMES = {  # what packages say in many ways, as SPDX identifiers
    "apache software license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache": "Apache-2.0",
    "mit license": "MIT",
    "bsd license": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "bsd": "BSD-3-Clause",
    "python software foundation license": "PSF-2.0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "gnu lesser general public license v2 or later (lgplv2+)": "LGPL-2.1-or-later",
    "gnu general public license v2 or later (gplv2+)": "GPL-2.0-or-later",
    "gplv2+": "GPL-2.0-or-later",
}
HEAD = """# Third-party parts

audiopatch itself is Apache-2.0. Nothing below is copied into it, except for the label lists and weights named at the
end; packages are installed beside it. Made by `scripts/third_party.py` from what the installed packages state.

"""
SHIPPED = """
## Inside the wheel

| part | from | licence |
|---|---|---|
| AudioSet's class names and ontology (`zoo/labels`) | AudioSet, Google | CC BY 4.0, CC BY-SA 4.0 |
| Discogs' genres and styles | MAEST's published label lists | factual list |
| GTZAN's fault-filtered split (`datasets/splits`) | Kereliuk et al. 2015, list by J. Lee | MIT |
| weights of EfficientAT mn04 | F. Schmid, K. Koutini, G. Widmer | MIT, notice beside the weights |
| weights of MusiCNN (MSD, MTT) | J. Pons, X. Serra | ISC, notice beside the weights |
| weights of the default model | distilled by this project from those | Apache-2.0 |
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    lines, missing = rows()
    if not parser.parse_args().check:
        if missing:
            print(f"not installed, hence not described: {', '.join(missing)}", file=sys.stderr)
            return 1
        head = ["| package | needed for | licence |", "|---|---|---|"]
        PAGE.write_text(HEAD + "\n".join([*head, *lines]) + "\n" + SHIPPED, encoding="utf-8")
        return 0
    present = set(PAGE.read_text(encoding="utf-8").splitlines())
    wrong = [line for line in lines if line not in present]
    wrong += [f"{name} is not described" for name in missing if f"| {name} |" not in "\n".join(present)]
    print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
    return 1 if wrong else 0


def rows() -> tuple[list[str], list[str]]:
    """A line for each package that is installed, and the names of those that are not."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed: dict[str, list[str]] = {name_of(need): ["everything"] for need in project["dependencies"]}
    for extra, needs in project["optional-dependencies"].items():
        if extra not in NOT_SHIPPED:
            for name in map(name_of, needs):
                if name != "audiopatch" and needed.get(name) != ["everything"]:
                    needed.setdefault(name, []).append(f"`{extra}`")
    lines, missing = [], []
    for name, purposes in sorted(needed.items()):
        try:
            lines.append(f"| {name} | {', '.join(purposes)} | {licence_of(distribution(name))} |")
        except PackageNotFoundError:
            missing.append(name)
    return lines, missing


def name_of(need: str) -> str:
    return re.split(r"[\[<>=!~; ]", need, maxsplit=1)[0]


def licence_of(package: Distribution) -> str:
    """The SPDX expression where it states one, else its free text or classifier in SPDX terms."""
    about: Any = package.metadata  # an email's headers
    if about.get("License-Expression"):
        return about["License-Expression"]
    classifiers = [
        line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or () if line.startswith("License")
    ]
    text = next((line for line in (about.get("License") or "").splitlines() if line.strip()), "")
    for said in (*(name for name in classifiers if name != "OSI Approved"), text):
        if said:
            return NAMES.get(said.strip().lower(), said.strip())
    return "not stated"


if __name__ == "__main__":
    sys.exit(main())
