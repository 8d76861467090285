"""From a file of a table to the file with its gaps filled in.

Three tables that come with scikit-learn, and one with words among its numbers that is made of the
first. A fifth of the cells of each is emptied, and the file is written. Then five lines of Python
read it, train, and write it again with its gaps filled in. So does one command:

    pyro-vae train --pair table --data wine.csv --columns "proline=real"

What is compared is the root mean square error over the emptied cells of numbers, in standard
deviations of their column, with the column's mean in their place. Of words it is the share that is
right, with the most frequent one in their place.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

import pyro_vae as pv

EMPTY = 0.2


def make_tables() -> dict[str, pd.DataFrame]:
    """The tables by name. "wine with words" has its cultivar by name, and its strength in words."""
    loads: dict[str, Callable] = {
        "wine": load_wine,
        "breast cancer": load_breast_cancer,
        "diabetes": load_diabetes,
        "iris": load_iris,
    }
    tables = {name: load(as_frame=True).data for name, load in loads.items()}
    iris, cultivars = load_iris(as_frame=True), np.array(["Barolo", "Grignolino", "Barbera"])
    tables["iris"] = iris.data.assign(species=iris.target_names[iris.target])
    strength = pd.cut(tables["wine"]["alcohol"], 3, labels=["light", "middle", "strong"])
    tables["wine with words"] = tables["wine"].assign(
        alcohol=strength.astype(str), cultivar=cultivars[load_wine().target]
    )
    return tables


def score(truth: pd.DataFrame, holes: pd.DataFrame, filled: pd.DataFrame) -> dict[str, float]:
    """How far numbers are off, and how many words are right."""
    errors, right = [], []
    for name in truth:
        hidden = holes[name].isna() & truth[name].notna()
        if pd.api.types.is_numeric_dtype(truth[name]):
            off = (filled[name].astype(float) - truth[name])[hidden] / truth[name].std()
            errors.append(off.to_numpy())
        else:
            right.append((filled[name] == truth[name])[hidden].to_numpy())
    found = {"numbers": float(np.sqrt(np.square(np.concatenate(errors)).mean()))}
    return found | ({"words": float(np.concatenate(right).mean())} if right else {})


def fill_plainly(holes: pd.DataFrame) -> pd.DataFrame:
    """The column's mean, or its most frequent word."""
    plain = {
        name: holes[name].mean()
        if pd.api.types.is_numeric_dtype(holes[name])
        else holes[name].mode()[0]
        for name in holes
    }
    return holes.fillna(plain)


def main(epochs: int = 200, out: str = "runs/tables", num_samples: int = 200) -> dict:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    print(f"{'':18}{'numbers, plain':>16}{'VAE':>8}{'words, plain':>16}{'VAE':>8}")
    for name, truth in make_tables().items():
        empty = np.random.default_rng(0).uniform(size=truth.shape) < EMPTY
        holes = truth.mask(empty)
        path = folder / f"{name.replace(' ', '-')}.csv"
        holes.to_csv(path, index=False)

        table = pv.data.table(path)
        vae = table.make_pair(latents=4)
        pv.fit(vae, table.x, epochs=epochs, learning_rate=3e-3, seed=0, progress=False)
        filled = table.impute(vae, num_samples=num_samples, progress=False)
        filled.to_csv(folder / f"{path.stem}-imputed.csv", index=False)

        plain, ours = score(truth, holes, fill_plainly(holes)), score(truth, holes, filled)
        found[name] = {"plain": plain, "VAE": ours}
        cells = [f"{plain['numbers']:16.3f}{ours['numbers']:8.3f}"]
        if "words" in plain:
            cells.append(f"{plain['words']:16.3f}{ours['words']:8.3f}")
        print(f"{name:18}" + "".join(cells))
    return found


if __name__ == "__main__":
    main()
