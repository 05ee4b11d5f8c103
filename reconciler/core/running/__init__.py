"""The decisions of a run on its way: doubts, splits, queue, stops, pace, report."""
