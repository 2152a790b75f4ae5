"""The box of one slot between threads."""

import time
from threading import Thread

from pathology.inference.newest import Newest


def test_the_newest_wins_and_the_rest_is_counted() -> None:
    box: Newest[int] = Newest()
    for number in range(5):
        box.put(number)
    assert (box.take(0), box.num_dropped) == (4, 4)
    assert box.take(0.01) is None
    box.put(9)
    box.close()
    assert not box.is_over  # what is in it may still be taken
    assert (box.take(0), box.is_over) == (9, True)


def test_every_item_is_taken_or_counted_and_none_twice() -> None:
    box: Newest[int] = Newest()
    taken: list[int] = []

    def read() -> None:
        while not box.is_over:
            item = box.take(0.5)
            if item is not None:
                taken.append(item)

    reader = Thread(target=read)
    reader.start()
    for number in range(3000):
        box.put(number)
        if number % 500 == 0:
            time.sleep(0.001)
    box.close()
    reader.join(timeout=10)
    assert not reader.is_alive()
    assert taken == sorted(set(taken)) and taken[-1] == 2999
    assert len(taken) + box.num_dropped == 3000
