"""What chance would give: permutation tests, intervals, calibration, reliability."""
