"""The gain of the study's centred critical method, chosen on a part of the training images that is not trained on.

python benchmarks/gain.py [GAIN …]      # about two minutes each; 300 epochs on 50,000 images, asked on the other 10,000
"""

import sys

import torch

import unvanish as uv
from unvanish.data.fashion_mnist import fashion_mnist
from unvanish.data.images import DataSet, Images
from unvanish.study.training import training
from unvanish.train.process import reproducible_process

GAINS = (4.0, 4.5, 5.0, 5.5, 6.0, 7.0, 8.0, 9.0)
SHOWN = (1, 6, 12, 50, 100, 200, 300)


def main() -> None:
    train = fashion_mnist().train
    parts = [Images(train.pixels_ND[part].contiguous(), train.labels_N[part].contiguous()) for part in (
        slice(None, 50_000), slice(50_000, None),
    )]  # fmt: skip
    data = DataSet("fashion-mnist", *parts)
    print("gain   " + "  ".join(f"epoch {epoch:>3}" for epoch in SHOWN))
    with reproducible_process():
        for gain in tuple(map(float, sys.argv[1:])) or GAINS:
            recipe = uv.baseline(epochs=300).with_remedies(uv.CentredCriticalInit(gain))
            rows = [one for one in training(recipe, data, torch.device("cpu")) if isinstance(one, uv.Epoch)]
            found = {row.epoch: row.val_acc for row in rows}
            print(f"{gain:<7g}" + "  ".join(f"{found[epoch]:>9.4f}" for epoch in SHOWN), flush=True)


if __name__ == "__main__":
    main()
