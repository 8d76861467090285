"""Load a data set by name, or from a file or folder."""

import os
from pathlib import Path

from pyro_vae.arguments import check_type
from pyro_vae.data.dataset import Dataset
from pyro_vae.data.files import read_file
from pyro_vae.data.images import read_folder
from pyro_vae.data.limits import check_regular
from pyro_vae.data.named import NAMES


def load(name: str | os.PathLike) -> Dataset:
    """Load a data set by name, or from a file or folder of your own.

    The names, what they are, and how they are split into training, validation and test:

    - `digits`: scikit-learn's 1,797 grey 8×8 digits, embedded; 1,297 / 200 / 300, fixed
    - `mnist`, `fashion-mnist`: 70,000 grey 28×28 images; 50,000 / 10,000 / 10,000
    - `static-mnist`: MNIST, binarised once and for all; 50,000 / 10,000 / 10,000
    - `omniglot`: grey 28×28 characters, ink is 1; every tenth image held out, evaluation set
    - `20news`: 20 Newsgroups, bags of words; every tenth document held out, test file
    - `jsb-chorales`: piano rolls of 88 keys, with `lengths`; 229 / 76 / 77
    - `pbmc68k`: counts of 765 genes in 700 blood cells; 500 / 60 / 140, fixed

    The digits are split by a fixed permutation. For `mnist` and `fashion-mnist` the first 50,000
    images of the training file are for training and the last 10,000 for validation. The test split
    is the test file. `static-mnist` has the splits of its own file (Larochelle & Murray, 2011). For
    `omniglot` every tenth image of the background set is for validation, and the evaluation set is
    the test split. `20news` is read from `20news.npz` and `20news-vocabulary.txt`, see
    `bags.read_bags`, and has its words as `vocabulary`. `pbmc68k` is split by a fixed
    permutation too. Its labels are types of cells, and its covariate is the library size, the
    counts of all genes of a cell. (Zheng et al., 2017)

    Any other name is a path: a `.npy`, `.npz`, `.csv` or `.pt` file (a tensor, or a dict of
    tensors), or a folder of images, where subfolders are labels. Arrays named `train`,
    `validation` (or `valid`) and `test` are the splits. Otherwise `x`, or the only array, is split
    80 / 10 / 10 by a fixed permutation, `y` has its labels, and `lengths` the steps of sequences
    (`train_lengths` and so on with splits of its own). Bytes are scaled to [0, 1] in all splits
    alike (unless all are 0 or 1). Images are scaled by their white, and those of fractions stay as
    they are. Nothing that is loaded can run code.

    The first row of a `.csv` is a header if it has words and no numbers. It is one as well, with a
    warning, if it numbers the columns, 0, 1, 2 and so on, as pandas does. Any other first row is
    data. An empty cell is a missing value, NaN.

    Named data sets are read from the folder that the environment variable `PYRO_VAE_DATA` names,
    by default a folder in the user's cache. The sets of torchvision are downloaded to it if they
    are missing. The others are not.

    Arguments:
        name: A name of the table, or a path.

    Returns:
        A `Dataset`.

    Raises:
        ValueError: if the name is unknown, or a file is missing, unreadable, a pipe or a device,
            larger than the memory that there is, or of an unusable shape. If a data set is missing
            and cannot be downloaded, the error says what to put where.

    Example:
        >>> load("digits").train.shape
        torch.Size([1297, 1, 8, 8])
    """
    check_type("data", name, (str, os.PathLike), "the name of a data set, or a path")
    if str(name) in NAMES:
        return NAMES[str(name)]()

    path = Path(name)
    if not path.exists():
        known = ", ".join(NAMES)
        raise ValueError(f"data: {str(name)!r} is neither a file or folder nor one of {known}")
    if path.is_dir():
        return read_folder(path)
    check_regular(path)
    return read_file(path)
