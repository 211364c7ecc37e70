"""Print the fingerprints of the frozen test sets, as `dor3d.data.testsets` writes them down.

    python scripts/fingerprints.py [../shared/poses]

Without the folder of recorded poses those of `tracked` are left out.
"""

import argparse
from pathlib import Path

from dor3d.data.testsets import clear, fingerprint, hard, rooms, tracked
from dor3d.hand.pose import HAND_VERSIONS


def main() -> None:
    """Draw the first scenes of each set and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("poses", type=Path, nargs="?")
    args = parser.parse_args()
    for version in HAND_VERSIONS:
        sets = {"CLEAR": clear(version=version), "HARD": hard(version=version), "ROOMS": rooms(version)}
        if args.poses:
            place = args.poses / ("animbank.pose" if version == 1 else "tracked")
            sets["TRACKED"] = tracked(place, version=version)
        for name, source in sets.items():
            mark = "" if version == 1 else f"_{version}"
            print(f'{name}{mark}_FINGERPRINT: Final = "{fingerprint(source)}"')


if __name__ == "__main__":
    main()
