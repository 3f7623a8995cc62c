"""Reading ahead: the same items in the same order, bounded, and no thread left behind."""

import threading

import pytest

from analysis.read_ahead import DEPTH, read_ahead


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def test_items_come_in_order_and_the_thread_ends():
    assert list(read_ahead(range(100))) == list(range(100))
    assert readers() == []


def test_no_more_is_made_than_is_allowed_to_wait():
    made = []

    def items():
        for index in range(20):
            made.append(index)
            yield index

    for index in read_ahead(items()):
        assert len(made) <= index + 1 + DEPTH


def test_next_item_is_made_while_this_one_is_worked_on():
    second_made = threading.Event()

    def items():
        yield 1
        second_made.set()
        yield 2

    for item in read_ahead(items()):
        if item == 1:
            assert second_made.wait(timeout=30)


def test_errors_come_up_in_their_place():
    def items():
        yield 1
        raise OSError("the disk is gone")

    walk = read_ahead(items())
    assert next(walk) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(walk)
    assert readers() == []


def test_a_walk_given_up_ends_its_thread():
    def endless():
        while True:
            yield 0

    walk = read_ahead(endless())
    next(walk)
    walk.close()
    assert readers() == []
