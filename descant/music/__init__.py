"""Music as data: pitches, intervals, modes, motion, scores, and their files."""
