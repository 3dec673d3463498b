"""Laws over whole loss curves: from curves under some schedules to the curve of another."""
