"""The watch on two leaders must see what it is there for: made-up acknowledgements with and without a second writer.

    cd bench/failover && ../work/venv/bin/python -m unittest test_watch
"""
import unittest

from watch_writes import late_but_kept, periods, shared_windows, violations


def ack(row, sent, acked, timeline, member):
    return (row, sent, acked, timeline, member)


class TwoLeaders(unittest.TestCase):
    # m1 leads on timeline 1 until 10.05, m2 on timeline 2 from 11.0
    CLEAN = [ack(1, 10.0, 10.01, 1, "m1"), ack(2, 10.05, 10.06, 1, "m1"), ack(3, 10.9, 11.0, 2, "m2"), ack(4, 11.05, 11.06, 2, "m2")]

    def test_one_after_the_other_is_well(self):
        self.assertEqual(violations(self.CLEAN, {1, 2, 3, 4}), [])
        self.assertEqual(shared_windows(self.CLEAN), 0)
        self.assertEqual([p[:2] for p in periods(self.CLEAN)], [["m1", 1], ["m2", 2]])

    def test_a_write_sent_to_the_old_leader_later(self):
        acks = [*self.CLEAN, ack(5, 11.055, 11.07, 1, "m1")]
        self.assertEqual(len(violations(acks, {1, 2, 3, 4, 5})), 1)
        self.assertEqual(shared_windows(acks), 1)

    def test_a_write_that_hung_and_woke_up(self):
        acks = [*self.CLEAN, ack(5, 10.07, 13.0, 1, "m1")]
        self.assertEqual(len(violations(acks, {1, 2, 3, 4})), 1, "not held by the new leader")
        self.assertEqual(violations(acks, {1, 2, 3, 4, 5}), [], "held: allowed")
        self.assertEqual(late_but_kept(acks, {1, 2, 3, 4, 5}), 1)

    def test_two_members_on_one_timeline(self):
        acks = [*self.CLEAN, ack(5, 12.0, 12.01, 2, "m3")]
        self.assertEqual(len(violations(acks, {1, 2, 3, 4, 5})), 1)


if __name__ == "__main__":
    unittest.main()
