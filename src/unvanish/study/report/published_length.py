"""The curves of the whole study at its published length, run once and shipped as a small file.

python -m unvanish.study.report.published_length STORE   # after `unvanish reproduce --published --store STORE`
"""

import json
import sys
import time
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

DIGITS = 4
FILE = "published_length.json"


@dataclass(frozen=True)
class Study:
    """accuracy  of the test images after each epoch, all stages in a row, by method
    made      the day; machine: where, in words
    """

    accuracy: dict[str, tuple[float, ...]]
    epochs: int
    made: str
    machine: str


@cache
def published_length() -> Study:
    found = json.loads(files("unvanish.study.report").joinpath(FILE).read_text(encoding="utf-8"))
    return Study({name: tuple(values) for name, values in found.pop("accuracy").items()}, **found)


def main(store: str) -> None:
    from unvanish.store.store import Store
    from unvanish.study.methods import METHODS, PUBLISHED_EPOCHS, PUBLISHED_SEED, method

    kept = Store.reader(store)
    records = {
        name: kept.record(method(name, epochs=PUBLISHED_EPOCHS, seed=PUBLISHED_SEED).digest(), weights=False)
        for name in METHODS
    }
    environment = next(iter(records.values())).environment
    found = {
        "epochs": PUBLISHED_EPOCHS,
        "made": time.strftime("%Y-%m-%d"),
        "machine": f"{environment['cores']} cores of {environment['processor']}",
        "accuracy": {name: [round(one.val_acc, DIGITS) for one in record.epochs] for name, record in records.items()},
    }
    print(json.dumps(found, ensure_ascii=False, separators=(",", ":")))


if __name__ == "__main__":
    main(sys.argv[1])
