import pytest

from pyro_vae.processes import (
    add_up,
    ask_first,
    count_processes,
    cut_share,
    find_rank,
    gather,
    is_first,
    take_share,
    try_together,
)
from tests.together import run_together


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 12])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_shares_are_all_of_the_rows_once(rows, count):
    shares = [cut_share(rows, rank, count) for rank in range(count)]
    sizes = [share.stop - share.start for share in shares]

    assert [row for share in shares for row in range(rows)[share]] == list(range(rows))
    assert max(sizes) - min(sizes) <= 1 and sizes == sorted(sizes, reverse=True)


def test_one_process_is_the_first():
    assert (count_processes(), find_rank(), is_first()) == (1, 0, True)


def refuse():
    raise ValueError("data: no")


def catch(function):
    try:
        ask_first(function)
    except Exception as error:
        return repr(error)


def fail():
    raise KeyError("x")


def refuse_in_second():
    if find_rank():
        raise TypeError("row 3")
    return "fine"


def catch_trying(function):
    with pytest.raises(TypeError) as error:
        try_together(function)
    return str(error.value)


def speak():
    rank = find_rank()
    sums, all_ranks, heard = add_up(rank, 1.5), gather(rank), ask_first(lambda: rank)
    tried = catch_trying(refuse_in_second)
    return sums, all_ranks, heard, take_share(5), catch(refuse), catch(fail), tried


def test_two_processes_hear_each_other():
    first, second = run_together(speak)

    assert first[:3] == second[:3] == ([1.0, 3.0], [0, 1], 0)
    assert (first[3], second[3]) == (slice(0, 3), slice(3, 5))
    assert first[4] == second[4] == "ValueError('data: no')"
    assert (first[6], second[6]) == ("process 1: row 3", "row 3")
    assert (first[5], second[5]) == ("KeyError('x')", """RuntimeError("'x'")""")
