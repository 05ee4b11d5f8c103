"""What a run decides on its way: doubts, splits, queue, stops, pace, report."""
